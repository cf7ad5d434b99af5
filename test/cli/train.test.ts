/** A whole working day with the command: train, stop, resume, evaluate, predict; and everything that can be asked for wrongly. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { readNpy, writeNpy } from '../../lib/checkpoint/npy.js';
import { readSafetensors, writeSafetensors } from '../../lib/checkpoint/safetensors.js';
import { readSplitFolder } from '../../lib/data/folder.js';
import { ImageLoader } from '../../lib/data/loader.js';
import { toLogical } from '../../lib/graph/declaration.js';
import { readCheckpoint } from '../../lib/train/checkpoint.js';
import { validationLoaderOptions } from '../../lib/train/training.js';
import { kernelWarehouse, makeFolder, makeImages } from './program.js';

const { path: folder, remove } = makeFolder();
test.after.always(remove);
const data = join(folder, 'data');
const whole = join(folder, 'whole');
const stopped = join(folder, 'stopped');
const best = join(whole, 'best.safetensors');
// A network with drop path and photo augmentation, so that resuming has random numbers to get right.
const network = ['--network', 'kw1x_resnet18', '--threads', '1'];
const options = ['--image-size', '16', '--batch-size', '4', '--epochs', '1', '--learning-rate', '0.01', '--weight-decay', '0.001'];

test.before(() => makeImages(data, { train: 6, val: 3 }));

/** The process id of a program that has ended. */
function deadProcess(): number {
  return spawnSync(process.execPath, ['--version']).pid;
}

test.serial('train writes checkpoints and says what it did; the lock of a dead process is in nobodys way', async (t) => {
  mkdirSync(whole);
  writeFileSync(join(whole, 'train.lock'), `${deadProcess()} ${hostname()}\n`);
  const { code, stdout, stderr } = await kernelWarehouse(['train', data, '--output', whole, ...network, ...options]);
  t.is(code, 0, stderr);
  t.regex(stdout, /^network +kw_resnet18 \(kw1x_resnet18\), 11,\d{3},\d{3} parameters, small stem$/m);
  t.regex(stdout, /^device +cpu, 1 threads$/m);
  t.regex(stdout, /^data +12 training and 6 validation images of 2 classes$/m);
  t.regex(
    stdout,
    /^epoch 1\/1 {2}loss \d\.\d{4} {2}train top-1 [\d.]+ % {2}validation top-1 [\d.]+ % {2}top-5 100\.0 % {2}\d+s {2}[\d.]+ images\/s$/m,
  );
  t.regex(stdout, /^1 epoch done; best is epoch 1: validation top-1 /m);
  t.true(stdout.trimEnd().endsWith(` eval ${data} --weights ${best}`), stdout);
  t.deepEqual(readdirSync(whole).sort(), ['best.safetensors', 'checkpoint.safetensors']);
});

test.serial('eval and predict agree with the validation of training', async (t) => {
  const evaluated = await kernelWarehouse(['eval', data, '--weights', best, '--json', '--threads', '1']);
  t.is(evaluated.code, 0, evaluated.stderr);
  const { images, top1, top5 } = JSON.parse(evaluated.stdout) as { readonly images: number; readonly top1: number; readonly top5: number };
  const { history } = (await readCheckpoint(join(whole, 'checkpoint.safetensors'))).progress;
  t.is(images, 6);
  t.is(top1, (history[0]?.validation?.top1 ?? Number.NaN) / 6);
  t.is(top5, 1);

  const dataset = (await readSplitFolder(data)).validation;
  const files = (dataset?.samples ?? []).map(({ image }) => image as string);
  const logits = join(folder, 'logits.npy');
  const predicted = await kernelWarehouse([
    ...['predict', ...files, '--weights', best, '--json', '--output', logits, '--threads', '1', '--batch-size', '4'],
  ]);
  t.is(predicted.code, 0, predicted.stderr);
  const predictions = JSON.parse(predicted.stdout) as readonly {
    readonly name: string;
    readonly classes: readonly { readonly name: string }[];
  }[];
  const right = predictions.filter(({ name, classes }) => name.includes(join('val', classes[0]?.name ?? '')));
  t.is(right.length, top1 * images);
  t.deepEqual((await readNpy(logits)).shape, [6, 2]);
});

test.serial('predict gives the same for a .npy file, in any batches, and for weights without a description', async (t) => {
  const { options: trained, temperature } = await readCheckpoint(best);
  const validation = (await readSplitFolder(data)).validation;
  t.truthy(validation);
  if (!validation) return;
  const loader = new ImageLoader(validation, validationLoaderOptions(trained, 6));
  const input = join(folder, 'x.npy');
  for await (const { images } of loader.batches(0)) {
    const logical = new Float32Array(images.length);
    toLogical([6, 3, 16, 16], 1, images, logical);
    await writeNpy(input, { type: 'F32', shape: [6, 3, 16, 16], data: logical });
  }
  const plain = join(folder, 'plain.safetensors');
  const { tensors } = await readSafetensors(best);
  await writeSafetensors(plain, tensors);

  const expected = (await readNpy(join(folder, 'logits.npy'))).data as Float32Array;
  const runs = [
    ['--weights', best, '--batch-size', '4'],
    ['--weights', plain, '--network', 'kw1x_resnet18', '--classes', '2', '--stem', 'small', '--temperature', String(temperature)],
  ];
  for (const run of runs) {
    const output = join(folder, 'again.npy');
    const { code, stdout, stderr } = await kernelWarehouse(['predict', '--input', input, '--output', output, '--threads', '1', ...run]);
    t.is(code, 0, stderr);
    t.is(stdout.trimEnd().split('\n').length, 6);
    const { data: logits } = await readNpy(output);
    const difference = Math.max(...expected.map((value, i) => Math.abs(value - (logits[i] as number))));
    t.true(difference < 1e-5, `${run.join(' ')}: ${difference}`);
  }
  const described = await kernelWarehouse(['predict', '--input', input, '--weights', best, '--classes', '2']);
  t.is(described.stderr, `kernel-warehouse: ${best} describes its network itself; leave out --classes\n`);
  const silent = await kernelWarehouse(['predict', '--input', input, '--weights', plain]);
  t.regex(silent.stderr, /does not say which network it belongs to; give --network/);
  const unfit = await kernelWarehouse(['predict', '--input', input, '--weights', plain, '--network', 'kw1x_resnet18', '--classes', '1000']);
  t.regex(unfit.stderr, /'fc\.weight' is \[2, 512\], expected \[1000, 512\]/);
  t.deepEqual([described.code, silent.code, unfit.code], [1, 1, 1]);
});

test.serial('predict takes images that are not square', async (t) => {
  const input = join(folder, 'wide.npy');
  await writeNpy(input, { type: 'F32', shape: [1, 3, 24, 40], data: new Float32Array(3 * 24 * 40).fill(0.5) });
  const { code, stdout, stderr } = await kernelWarehouse(['predict', '--input', input, '--weights', best, '--top', '1']);
  t.is(code, 0, stderr);
  t.regex(stdout, /wide\.npy\[0\] {2}(dark|light) [\d.]+ %\n$/);
});

test.serial('stopped by Ctrl-C in an epoch and resumed, a run comes to the same bits', async (t) => {
  const start = ['train', data, '--output', stopped, ...network, ...options];
  // The second one at once, as `timeout -s INT` sends it.
  const first = await kernelWarehouse(start, { signals: { when: /^checkpoint/m, names: ['SIGINT', 'SIGINT'] } });
  t.is(first.code, 130, first.stderr);
  t.regex(first.stderr, /SIGINT: stopping after this step/);
  t.regex(first.stdout, /^stopped; continue with: .* --resume --threads 1$/m);
  t.deepEqual(readdirSync(stopped), ['checkpoint.safetensors']);
  const { progress } = await readCheckpoint(join(stopped, 'checkpoint.safetensors'));
  t.true(progress.batch >= 1 && progress.batch < 3, `stopped after ${progress.batch} batches`);

  const second = await kernelWarehouse(['train', data, '--output', stopped, '--resume', ...network]);
  t.is(second.code, 0, second.stderr);
  t.regex(second.stdout, /resumed in epoch 1$/m);
  for (const name of ['checkpoint.safetensors', 'best.safetensors']) {
    const expected = (await readSafetensors(join(whole, name))).tensors;
    const actual = (await readSafetensors(join(stopped, name))).tensors;
    t.deepEqual([...actual.keys()], [...expected.keys()]);
    for (const [tensor, { data: values }] of expected) {
      const bytes = (array: ArrayBufferView) => Buffer.from(array.buffer, array.byteOffset, array.byteLength);
      t.true(bytes(values).equals(bytes(actual.get(tensor)?.data ?? new Uint8Array())), `${name}: ${tensor}`);
    }
  }

  const third = await kernelWarehouse(['train', data, '--output', stopped, '--resume', '--threads', '1']);
  t.is(third.code, 0, third.stderr);
  t.regex(third.stdout, /^1 epoch done; best is epoch 1/m);
});

test.serial('a second signal ends the run at once, without a checkpoint and without a lock', async (t) => {
  const output = join(folder, 'twice');
  const command = ['train', data, '--output', output, ...network, ...options];
  const { code } = await kernelWarehouse(command, { signals: { when: /^checkpoint/m, names: ['SIGTERM', 'SIGINT'] } });
  t.is(code, 130);
  t.deepEqual(readdirSync(output), []);
});

/** Runs a command that must fail, and returns what it said without the program's name. */
async function failure(...command: string[]): Promise<string> {
  const { code, stderr } = await kernelWarehouse(command);
  return code === 1 ? stderr.replace(/^kernel-warehouse: /gm, '') : `exit status ${code}: ${stderr}`;
}

test.serial('train never overwrites a run, and resumes only what is there and as it was', async (t) => {
  const checkpoint = join(whole, 'checkpoint.safetensors');
  t.is(
    await failure('train', data, '--output', whole),
    `${checkpoint} exists, and a run is never overwritten; give --resume to continue it, or choose another --output\n`,
  );
  t.regex(
    await failure('train', data, '--output', join(folder, 'new'), '--resume'),
    /checkpoint\.safetensors: no checkpoint to resume; leave out --resume/,
  );
  t.false(existsSync(join(folder, 'new')));

  const resume = ['train', data, '--output', whole, '--resume'];
  const other = await failure(
    ...resume,
    '--batch-size',
    '8',
    '--std',
    '1,1,1',
    '--stem',
    'large',
    '--network',
    'kw2x_resnet18',
    '--nesterov',
  );
  t.true(other.startsWith('the checkpoint was made with other options: '), other);
  for (const difference of [
    '--batch-size is 4 there, 8 here',
    '--std is 0.229,0.224,0.225 there, 1,1,1 here',
    '--stem is small there, large here',
    '--network is kw_resnet18 with other options there, kw2x_resnet18 here',
    '--nesterov is false there, true here',
  ])
    t.true(other.includes(difference), other);

  const running = join(whole, 'train.lock');
  writeFileSync(running, `${process.pid} ${hostname()}\n`);
  t.is(
    await failure(...resume),
    `${whole} is in use by process ${process.pid}; wait for it, choose another --output, or remove ${running} if it is gone\n`,
  );
  t.true(existsSync(running));
  writeFileSync(running, `${process.pid} another-host\n`);
  t.regex(await failure(...resume), new RegExp(`is in use by process ${process.pid} on another-host`));
});

test('train checks its data and its configuration before it makes anything', async (t) => {
  const output = join(folder, 'unmade');
  const train = (...rest: string[]) => failure('train', data, '--output', output, ...rest);
  t.regex(await failure('train', join(folder, 'nothing'), '--output', output), /nothing: no such folder; expected FOLDER\/<class>/);
  t.regex(await train('--network', 'kw_resnet19'), /^no network or configuration 'kw_resnet19'; did you mean 'kw_resnet18'\?/);
  t.is(await train('--optimizer', 'adamw', '--momentum', '0.5'), '--momentum is an option of sgd, but the optimizer is adamw\n');

  const file = join(folder, 'a-file');
  writeFileSync(file, '');
  t.regex(await failure('train', data, '--output', file), /^--output: expected a folder that can be written, got .*a-file: EEXIST/);
  t.regex(
    await failure('train', data, '--output', join(file, 'run')),
    /^--output: expected a folder that can be written, got .*run: ENOTDIR/,
  );
  const locked = join(folder, 'locked');
  mkdirSync(join(locked, 'train.lock'), { recursive: true });
  t.regex(await failure('train', data, '--output', locked), /^--output: expected a folder that can be written, got .*locked: EISDIR/);

  const config = join(folder, 'config.json');
  const write = (fields: object) => writeFileSync(config, JSON.stringify({ model: 'kw_resnet18', ...fields }));
  write({ num_classes: 10, mixup: 0.8, model_ema: true, cutmix: 0, aa: null, lr: 0.1 });
  t.is(
    await train('--network', config),
    `${config}: this version has no training recipes yet, so nothing reads model_ema true, mixup 0.8; remove these fields\n`,
  );
  write({ num_classes: 10, cutmix: 0, aa: null, lr: 0.1 });
  t.is(
    await train('--network', config),
    'the configuration has num_classes 10, but the folder has 2 classes; change or remove num_classes\n',
  );
  write({ opt: 'lamb' });
  t.is(await train('--network', config), "opt: the optimizer 'lamb' is not in this version; it has sgd, nesterov, momentum, adamw\n");
  write({ cell_num_ration: 2 });
  t.regex(await train('--network', config), /config\.json: unknown field cell_num_ration, did you mean cell_num_ratio\?/);
  t.false(existsSync(output));
});

test('eval and predict say what is wrong with their files', async (t) => {
  const strange = join(folder, 'strange');
  await makeImages(strange, { train: 1, val: 1 });
  for (const part of ['train', 'val']) renameSync(join(strange, part, 'dark'), join(strange, part, 'cat'));
  t.is(await failure('eval', strange, '--weights', best), `${strange}: the network knows no class cat; it knows dark, light\n`);
  t.regex(await failure('eval', data, '--weights', join(folder, 'missing')), /missing: cannot be read: ENOENT/);
  const image = join(data, 'val', 'dark', '0.png');
  t.regex(await failure('eval', data, '--weights', image), /0\.png: neither a safetensors file nor one that torch\.save wrote/);
  t.regex(await failure('eval', data, '--weights', best, '--device', 'cuda'), /device .cuda. is not available/);

  const trainOnly = join(folder, 'train-only');
  await makeImages(trainOnly, { train: 1 });
  t.regex(await failure('eval', trainOnly, '--weights', best), /train-only has train but no val; .* give .*train-only\/train/);

  const array = join(folder, 'wrong.npy');
  const predict = () => failure('predict', '--input', array, '--weights', best);
  await writeNpy(array, { type: 'F32', shape: [3, 16, 16], data: new Float32Array(768) });
  t.is(await predict(), `${array}: expected shape [N, 3, H, W] without a zero, got [3, 16, 16]\n`);
  await writeNpy(array, { type: 'F32', shape: [1, 1, 16, 16], data: new Float32Array(256) });
  t.regex(await predict(), /expected shape \[N, 3, H, W\] without a zero, got \[1, 1, 16, 16\]/);
  await writeNpy(array, { type: 'F64', shape: [1, 3, 2, 2], data: new Float64Array(12) });
  t.regex(await predict(), /expected element type float32, got F64/);
  const nowhere = join(folder, 'nowhere', 'y.npy');
  t.regex(await failure('predict', image, '--weights', best, '--output', nowhere), /nowhere\/y\.npy: there is no folder/);
  t.regex(await failure('predict', array, '--weights', best), /wrong\.npy: cannot be read as an image/);
});
