/** Weights of other programs: .pth and safetensors files given to predict, eval, convert and train. */
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { openCheckpoint } from '../../lib/checkpoint/checkpoint_file.js';
import { readNpy, writeNpy } from '../../lib/checkpoint/npy.js';
import { bytesOf, type StoredTensor } from '../../lib/checkpoint/stored_tensor.js';
import { ModelInstance } from '../../lib/models/instance.js';
import { Model } from '../../lib/models/model.js';
import { selectModel } from '../../lib/models/select.js';
import { Device } from '../../lib/runtime/device.js';
import { readCheckpoint, readDescription } from '../../lib/train/checkpoint.js';
import { torchCheckpoint } from '../checkpoint/torch_file.js';
import { l2 } from '../golden/tolerance.js';
import { kernelWarehouse, makeFolder, makeImages } from './program.js';

const files = fileURLToPath(new URL('../../../test/checkpoint/files/', import.meta.url));
const { path: folder, remove } = makeFolder();
test.after.always(remove);
const images = join(folder, 'images');
const x = join(folder, 'x.npy');
const y = join(folder, 'y.npy');
/** As the authors' script saves: a half-budget ResNet-18 for two classes and small images, its average, its settings. */
const pth = join(folder, 'kw1d2x.pth');
/** The same tensors with nothing about them, under the names of parallel training. */
const bare = join(folder, 'bare.pth');
const converted = join(folder, 'converted.safetensors');
const size = 16;
let expected: Float32Array;

const predict = (...rest: string[]) => kernelWarehouse(['predict', '--input', x, '--output', y, '--threads', '1', ...rest]);
const logits = async () => (await readNpy(y)).data as Float32Array;

test.before(async () => {
  await makeImages(images, { train: 4, val: 2 });
  const { model, config } = selectModel('kw1d2x_resnet18');
  using device = Device.open('cpu', { threads: 1 });
  using instance = new ModelInstance(new Model({ ...model, classes: 2, stem: 'small' }), device);
  await instance.initialize(3);
  const tensors: Map<string, StoredTensor> = new Map(await instance.save());
  const counted = new Map(tensors).set('bn1.num_batches_tracked', { type: 'I64', shape: [], data: BigInt64Array.of(7n) });
  const args = { ...config, nb_classes: 1000, lr: 0.1 } as unknown as Record<string, string | number>;
  const average = new Map(counted).set('fc.bias', { type: 'F32', shape: [2], data: Float32Array.of(9, -9) });
  writeFileSync(pth, torchCheckpoint(counted, { epoch: 12, args: onlyPlain(args), ema: average }));
  writeFileSync(bare, torchCheckpoint(new Map([...tensors].map(([name, tensor]) => [`module.${name}`, tensor]))));
  const physical = Float32Array.from({ length: 2 * size * size * 3 }, (_, i) => Math.sin(i));
  expected = await instance.logits(physical, 2, size);
  const logical = new Float32Array(physical.length);
  for (let i = 0; i < physical.length; i++) {
    const [sample, place, channel] = [Math.floor(i / (size * size * 3)), Math.floor(i / 3) % (size * size), i % 3];
    logical[(sample * 3 + channel) * size * size + place] = physical[i] as number;
  }
  await writeNpy(x, { type: 'F32', shape: [2, 3, size, size], data: logical });
});

function relativeL2(found: Float32Array, wanted: Float32Array): number {
  return l2(found.map((value, i) => value - (wanted[i] as number))) / l2(wanted);
}

function zeros(declarations: Model['declarations']): Map<string, StoredTensor> {
  const size = (shape: readonly number[]) => shape.reduce((product, one) => product * one, 1);
  return new Map(declarations.map(({ name, shape }) => [name, { type: 'F32', shape, data: new Float32Array(size(shape)) }]));
}

function onlyPlain(args: Readonly<Record<string, unknown>>): Record<string, string | number> {
  return Object.fromEntries(Object.entries(args).filter(([, value]) => typeof value === 'string' || typeof value === 'number')) as Record<
    string,
    string | number
  >;
}

test.serial('predict takes .pth: the network from the settings in it, a configuration, or the path of an official one', async (t) => {
  const runs = [
    [['--weights', pth], /^$/],
    [['--weights', pth, '--config', 'kw1d2x_resnet18', '--strict'], /^$/],
    [['--weights', bare, '--network', 'kw1d2x_resnet18', '--temperature', '0'], /^$/],
    [
      ['--weights', bare, '--config', 'configs/kw1d2x_resnet18.json'],
      /^kernel-warehouse: there is no file configs\/kw1d2x_resnet18\.json; using the official configuration kw1d2x_resnet18\n$/,
    ],
  ] as const;
  for (const [flags, message] of runs) {
    const { code, stderr, stdout } = await predict(...flags);
    t.is(code, 0, stderr);
    t.regex(stderr, message);
    t.is(stdout.trim().split('\n').length, 2);
    t.true(relativeL2(await logits(), expected) < 1e-6, flags.join(' '));
  }
});

test.serial('predict: the average, names of classes, and what does not fit', async (t) => {
  const names = join(folder, 'names.txt');
  writeFileSync(names, 'cat\nsheep dog\n');
  const average = await predict('--weights', pth, '--ema', '--classes-from', names, '--top', '1');
  t.is(average.code, 0, average.stderr);
  t.regex(average.stdout, /^.*x\.npy\[0\] {2}cat 100\.0 %\n.*\[1\] {2}cat 100\.0 %\n$/);

  const messages: readonly (readonly [string[], RegExp])[] = [
    [['--weights', bare], /bare\.pth does not say which network it belongs to; give --network or --config\n$/],
    [
      ['--weights', pth, '--classes', '5'],
      /do not fit kw_resnet18: wrong shape \(2\): 'fc\.weight' is \[2, 512\], expected \[5, 512\], 'fc\.bias'/,
    ],
    [['--weights', pth, '--stem', 'large'], /'conv1\.weight' is \[64, 3, 3, 3\], expected \[64, 3, 7, 7\]/],
    [['--weights', pth, '--network', 'kw1x_resnet18', '--no-strict'], /wrong shape \(\d+\): 'warehouse_manager\.weights\.0' is/],
    [['--weights', pth, '--network', 'resnet18'], /missing \(\d+\): 'layer1\.0\.conv1\.weight' \[64, 64, 3, 3\].*; unexpected \(\d+\): "/],
    [['--weights', bare, '--network', 'kw1d2x_resnet18', '--ema'], /no tensors under model_ema; it has "module\.conv1\.weight"/],
    [['--weights', pth, '--classes-from', x], /x\.npy: has \d+ names, but the network has 2 classes/],
    [['--weights', pth, '--classes-from', join(folder, 'none')], /none: cannot be read: ENOENT/],
  ];
  for (const [flags, message] of messages) {
    const { code, stderr, stdout } = await predict(...flags);
    t.regex(stderr, message);
    t.is(stderr.split('\n').length, 2, stderr);
    t.deepEqual([code, stdout], [1, '']);
  }
});

test.serial('--no-strict says what does not fit and goes on', async (t) => {
  await using file = await openCheckpoint(bare);
  const tensors = new Map<string, StoredTensor>();
  for (const name of file.names) if (name !== 'bn1.bias') tensors.set(name, await file.read(name));
  const partial = join(folder, 'partial.pth');
  writeFileSync(partial, torchCheckpoint(tensors.set('other', { type: 'F32', shape: [1], data: new Float32Array(1) })));
  const strict = await predict('--weights', partial, '--network', 'kw1d2x_resnet18');
  t.regex(strict.stderr, /missing \(1\): 'bn1\.bias' \[64\]; unexpected \(1\): "other"\n$/);
  const lenient = await predict('--weights', partial, '--network', 'kw1d2x_resnet18', '--no-strict');
  t.is(lenient.code, 0, lenient.stderr);
  t.regex(
    lenient.stderr,
    /partial\.pth is used although it does not fit kw_resnet18: missing \(1\): 'bn1\.bias' \[64\]; unexpected \(1\): "other"\n$/,
  );
  t.true(relativeL2(await logits(), expected) < 1e-6, 'the initial value is 0, as it was');
});

test.serial('convert: the same bits, and a file that describes itself', async (t) => {
  const { code, stdout, stderr } = await kernelWarehouse(['convert', pth, converted, '--config', 'kw1d2x_resnet18', '--temperature', '0']);
  t.is(code, 0, stderr);
  t.regex(
    stdout,
    /^read +.*kw1d2x\.pth \(pth\)\nwritten +.*converted\.safetensors, \d+ tensors, [\d.]+ MiB\nnetwork +kw_resnet18, 2 classes\n$/,
  );
  await using before = await openCheckpoint(pth);
  await using after = await openCheckpoint(converted);
  t.deepEqual([...after.names].sort(), [...before.names].sort());
  for (const name of before.names) {
    const [a, b] = [await before.read(name), await after.read(name)];
    t.true(a.type === b.type && Buffer.compare(bytesOf(a.data), bytesOf(b.data)) === 0, name);
  }
  t.is(after.metadata.epoch, '12');
  t.is((JSON.parse(after.metadata.args as string) as { lr: number }).lr, 0.1);
  const predicted = await predict('--weights', converted);
  t.is(predicted.code, 0, predicted.stderr);
  t.true(relativeL2(await logits(), expected) < 1e-6);
  const described = await predict('--weights', converted, '--config', 'kw1d2x_resnet18');
  t.regex(described.stderr, /describes its network itself; leave out --config\n$/);

  const again = join(folder, 'again.safetensors');
  t.is((await kernelWarehouse(['convert', converted, again])).code, 0);
  await using copy = await openCheckpoint(again);
  const parsed = ({ 'kernel-warehouse': description = '', ...rest }: Readonly<Record<string, string>>) => ({
    ...rest,
    description: JSON.parse(description) as unknown,
  });
  t.deepEqual(parsed(copy.metadata), parsed(after.metadata));
});

test.serial('convert takes the network from the settings of the script where the weights fit', async (t) => {
  const [out, names] = [join(folder, 'settings.safetensors'), join(folder, 'settings.txt')];
  writeFileSync(names, 'cat\ndog\n');
  for (const flags of [[], ['--classes-from', names]]) {
    const { code, stdout, stderr } = await kernelWarehouse(['convert', pth, out, ...flags]);
    t.deepEqual([code, stderr], [0, '']);
    t.regex(stdout, /^network +kw_resnet18, 2 classes$/m);
  }
  await using file = await openCheckpoint(out);
  t.deepEqual(readDescription(file)?.classes, ['cat', 'dog']);

  const foreign = join(folder, 'foreign.pth');
  const weights = new Map<string, StoredTensor>([['w', { type: 'F32', shape: [1], data: new Float32Array(1) }]]);
  for (const [model, message] of [
    ['my_net', /does not name the network in its settings \(args\): .*'my_net'/],
    ['resnet18', /does not name the network in its settings \(args\): .*foreign\.pth: the weights do not fit resnet18: missing/],
  ] as const) {
    writeFileSync(foreign, torchCheckpoint(weights, { args: { model } }));
    const plain = await kernelWarehouse(['convert', foreign, out]);
    t.is(plain.code, 0, plain.stderr);
    t.regex(plain.stderr, message);
    t.regex(plain.stdout, /^network +unknown; give --network$/m);
    t.is((await kernelWarehouse(['convert', foreign, out, '--temperature', '0.5'])).code, 1, 'flags need the network');
  }
});

test.serial('a stem that no shape shows is asked for', async (t) => {
  const [weights, out] = [join(folder, 'mobile.pth'), join(folder, 'mobile.safetensors')];
  const { declarations } = new Model({ network: 'mobilenetv2_050', classes: 2 });
  writeFileSync(weights, torchCheckpoint(zeros(declarations)));
  const note = /mobile\.pth: the shapes do not tell which stem of mobilenetv2_050 .*using 'large', give --stem small if it was that one/;
  t.regex((await kernelWarehouse(['convert', weights, out, '--network', 'mobilenetv2_050'])).stderr, note);
  t.is((await kernelWarehouse(['convert', weights, out, '--network', 'mobilenetv2_050', '--stem', 'small'])).stderr, '');
  await using file = await openCheckpoint(out);
  t.is(readDescription(file)?.model.stem, 'small');
});

test.serial('convert without a network, and what it refuses', async (t) => {
  const out = join(folder, 'out.safetensors');
  const plain = await kernelWarehouse(['convert', bare, out]);
  t.is(plain.code, 0, plain.stderr);
  t.regex(plain.stdout, /^network +unknown; give --network$/m);
  await using file = await openCheckpoint(out);
  t.deepEqual({ ...file.metadata }, {});
  t.true(file.has('conv1.weight'));
  for (const [command, message] of [
    [[bare, join(folder, 'x.pth')], /x\.pth: only safetensors files are written; PyTorch reads them/],
    [[bare, join(folder, 'no', 'x.safetensors')], /there is no folder .*no to write it to/],
    [[bare, join(folder, 'x.safetensors'), '--classes', '2'], /does not say which network it belongs to/],
    [[bare, join(folder, 'x.safetensors'), '--network', 'kw1x_resnet18'], /the weights do not fit kw_resnet18: wrong shape/],
    [[join(files, 'evil-system.pth'), join(folder, 'x.safetensors')], /evil-system\.pth: refused: .*"posix\.system"/],
    [[join(files, 'truncated.pth'), join(folder, 'x.safetensors')], /truncated\.pth: cut short/],
  ] as const) {
    const { code, stderr, stdout } = await kernelWarehouse(['convert', ...command]);
    t.regex(stderr, message);
    t.deepEqual([code, stdout, stderr.split('\n').length], [1, '', 2], stderr);
  }
  t.deepEqual(
    readdirSync(folder).filter((name) => name.startsWith('x.') || name.startsWith('.')),
    ['x.npy'],
  );
  t.false(existsSync('/tmp/kernel-warehouse-was-here'));
});

test.serial('DeiT at another size than usual says which one', async (t) => {
  const weights = join(folder, 'deit.pth');
  const { declarations } = new Model({ network: 'deit_tiny', classes: 2, imageSize: 32 });
  writeFileSync(weights, torchCheckpoint(zeros(declarations)));
  const out = join(folder, 'deit.safetensors');
  const made = await kernelWarehouse(['convert', weights, out, '--network', 'deit_tiny']);
  t.is(made.code, 0, made.stderr);
  const image = join(images, 'val', 'dark', '0.png');
  for (const flags of [
    ['--weights', out],
    ['--weights', weights, '--network', 'deit_tiny'],
  ]) {
    const { code, stdout, stderr } = await kernelWarehouse(['predict', image, ...flags, '--threads', '1']);
    t.is(code, 0, stderr);
    t.regex(stdout, /0\.png {2}0 50\.0 % {2}1 50\.0 %\n$/);
  }
  const other = await predict('--weights', weights, '--network', 'deit_tiny');
  t.regex(
    other.stderr,
    /embeddings are for images of 32x32, but these are 16x16; resize them to 32x32, .* --image-size 32; a model for 16x16/,
  );
});

test.serial('nothing that a command reads is replaced by what it writes', async (t) => {
  const link = join(folder, 'link.safetensors');
  symlinkSync(pth, link);
  const disguised = join(folder, 'disguised.safetensors');
  copyFileSync(bare, disguised);
  const names = join(folder, 'labels.txt');
  writeFileSync(names, 'cat\ndog\n');
  const before = [pth, disguised, x, names].map((path) => readFileSync(path));
  const runs: readonly (readonly [command: readonly string[], message: RegExp])[] = [
    [['predict', '--weights', pth, '--input', x, '--output', pth], /kw1d2x\.pth: writing it would replace .*kw1d2x\.pth, which is read/],
    [['predict', '--weights', pth, '--input', x, '--output', link], /link\.safetensors: writing it would replace .*kw1d2x\.pth/],
    [['predict', '--weights', pth, '--input', x, '--output', join(folder, 'images', '..', 'x.npy')], /would replace .*x\.npy/],
    [['predict', '--weights', pth, '--input', x, '--classes-from', names, '--output', names], /would replace .*labels\.txt/],
    [['predict', '--weights', pth, '--input', x, '--output', folder], /expected a file to write, but it is a folder; add a file name/],
    [['convert', pth, link], /kw1d2x\.pth: only safetensors files are written/],
    [['convert', disguised, disguised], /would replace .*disguised\.safetensors/],
    [['convert', pth, folder], /expected a file to write, but it is a folder/],
  ];
  for (const [command, message] of runs) {
    const { code, stderr, stdout } = await kernelWarehouse(command);
    t.regex(stderr, message);
    t.deepEqual([code, stdout], [1, ''], stderr);
  }
  [pth, disguised, x, names].forEach((path, index) => {
    t.is(Buffer.compare(readFileSync(path), before[index] as Buffer), 0, path);
  });
  for (const path of [link, disguised, names]) rmSync(path);
});

test.serial('logits that are not finite are no prediction', async (t) => {
  const odd = join(folder, 'odd.npy');
  const { data } = await readNpy(x);
  await writeNpy(odd, { type: 'F32', shape: [2, 3, size, size], data: (data as Float32Array).map((value, i) => (i === 0 ? NaN : value)) });
  const warning =
    /^kernel-warehouse: the logits of 1 of 2 samples are not finite, the first of them .*odd\.npy\[0\]; look for NaN, infinite or huge values in the input and in .*\.pth\n$/;
  const run = (...flags: string[]) => kernelWarehouse(['predict', '--input', odd, '--weights', pth, '--threads', '1', ...flags]);
  const lines = await run();
  t.regex(lines.stderr, warning);
  t.regex(lines.stdout, /^.*odd\.npy\[0\] {2}no finite logits\n.*odd\.npy\[1\] {2}\d [\d.]+ %/);
  const json = await run('--json');
  t.regex(json.stderr, warning);
  const [first, second] = JSON.parse(json.stdout) as { readonly classes: readonly unknown[] }[];
  t.deepEqual([json.code, first?.classes.length, second?.classes.length], [0, 0, 2]);
});

test.serial('eval of weights that do not describe their training', async (t) => {
  const flags = ['--weights', pth, '--image-size', '16', '--crop-ratio', '1', '--json', '--threads', '1'];
  const sorted = await kernelWarehouse(['eval', images, ...flags]);
  t.is(sorted.code, 0, sorted.stderr);
  const { top1, images: count } = JSON.parse(sorted.stdout) as { top1: number; images: number };
  t.is(count, 4);
  const names = join(folder, 'reversed.txt');
  writeFileSync(names, 'light\ndark\n');
  const named = await kernelWarehouse(['eval', images, ...flags, '--classes-from', names]);
  t.is((JSON.parse(named.stdout) as { top1: number }).top1, 1 - top1, 'the classes the other way round');
  mkdirSync(join(folder, 'one', 'dark'), { recursive: true });
  writeFileSync(join(folder, 'one', 'dark', '0.png'), '');
  const few = await kernelWarehouse(['eval', join(folder, 'one'), ...flags]);
  t.regex(few.stderr, /has 1 classes, and the network 2; the weights do not name its classes, so give their names with --classes-from\n$/);
});

test.serial('train --weights: the trained layers, and a new classifier where the classes differ', async (t) => {
  const options = [
    '--threads',
    '1',
    '--image-size',
    '16',
    '--batch-size',
    '4',
    '--epochs',
    '1',
    '--learning-rate',
    '1e-30',
    '--weight-decay',
    '0',
  ];
  const same = join(folder, 'same');
  const first = await kernelWarehouse(['train', images, '--output', same, '--weights', converted, ...options]);
  t.is(first.code, 0, first.stderr);
  t.regex(first.stdout, /^weights +.*converted\.safetensors$/m);
  const { options: trained, model, temperature } = await readCheckpoint(join(same, 'checkpoint.safetensors'));
  t.deepEqual([trained.temperatureEpochs, temperature, model.stem, model.classes], [0, 0, 'small', 2]);
  await using before = await openCheckpoint(pth);
  await using after = await openCheckpoint(join(same, 'checkpoint.safetensors'));
  for (const name of ['conv1.weight', 'warehouse_manager.weights.3', 'fc.weight']) {
    t.is(Buffer.compare(bytesOf((await before.read(name)).data), bytesOf((await after.read(name)).data)), 0, name);
  }

  const slim = join(folder, 'slim.safetensors');
  const { stdout } = await kernelWarehouse(['convert', join(same, 'checkpoint.safetensors'), slim]);
  t.regex(stdout, /^left out +\d+ tensors of the optimizer$/m);
  await using published = await openCheckpoint(slim);
  t.deepEqual([...published.names].sort(), after.names.filter((name) => !name.startsWith('optimizer.')).sort());
  const { progress, options: trainedWith } = readDescription(published) ?? {};
  t.deepEqual([progress, trainedWith], [undefined, trained], 'nothing to resume, but how it was trained');

  await makeImages(join(folder, 'three'), { train: 2 });
  mkdirSync(join(folder, 'three', 'train', 'other'));
  copyFileSync(join(images, 'train', 'dark', '0.png'), join(folder, 'three', 'train', 'other', '0.png'));
  const three = join(folder, 'run3');
  const second = await kernelWarehouse([
    'train',
    join(folder, 'three'),
    '--output',
    three,
    '--weights',
    pth,
    '--ema',
    '--temperature-epochs',
    '2',
    ...options,
  ]);
  t.is(second.code, 0, second.stderr);
  t.regex(second.stdout, /^weights +.*kw1d2x\.pth, but a new classifier for 3 classes: fc\.weight, fc\.bias$/m);
  const checkpoint = await readCheckpoint(join(three, 'checkpoint.safetensors'));
  t.deepEqual([checkpoint.model.classes, checkpoint.options.temperatureEpochs], [3, 2]);
  await using tuned = await openCheckpoint(join(three, 'checkpoint.safetensors'));
  t.deepEqual(tuned.entry('fc.weight').shape, [3, 512]);
  t.is(Buffer.compare(bytesOf((await before.read('conv1.weight')).data), bytesOf((await tuned.read('conv1.weight')).data)), 0);

  const refused = join(folder, 'refused');
  for (const [flags, message] of [
    [['--weights', bare], /bare\.pth does not say which network it belongs to/],
    [['--weights', bare, '--network', 'kw1x_resnet18'], /the weights do not fit kw_resnet18: wrong shape/],
    [['--weights', join(files, 'evil-eval.pth')], /evil-eval\.pth: refused/],
  ] as const) {
    const { code, stderr, stdout } = await kernelWarehouse(['train', images, '--output', refused, ...flags, ...options]);
    t.regex(stderr, message);
    t.deepEqual([code, stdout], [1, '']);
    t.false(existsSync(refused));
  }
});
