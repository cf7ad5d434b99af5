/** `--precision`: a run in bfloat16, resumed in float32, evaluated in both; what is stored is the same. */
import { copyFileSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { readNpy } from '../../lib/checkpoint/npy.js';
import { readSafetensors } from '../../lib/checkpoint/safetensors.js';
import { bfloat16Instructions, cpuReport } from '../../lib/runtime/cpu_report.js';
import { readCheckpoint } from '../../lib/train/checkpoint.js';
import { kernelWarehouse, makeFolder, makeImages } from './program.js';

const { path: folder, remove } = makeFolder();
test.after.always(remove);
const data = join(folder, 'data');
const output = join(folder, 'run');
const checkpoint = join(output, 'checkpoint.safetensors');
const common = ['--output', output, '--threads', '1'];
const demo = fileURLToPath(new URL('../../../demo/digits', import.meta.url));
const options = ['--network', 'resnet18', '--image-size', '16', '--batch-size', '4', '--epochs', '1', '--learning-rate', '0.01'];
const note = /bfloat16 saves memory here but no time, because no instructions for it \(AVX512_BF16, AMX\) are in use\n/g;
/** How often the note must be there: once where float32 computes bfloat16. */
const notes = bfloat16Instructions() === undefined ? 1 : 0;

test.before(() => makeImages(data, { train: 6, val: 3 }));

test.serial('train in bfloat16 stores float32 weights and says what it was', async (t) => {
  const { code, stdout, stderr } = await kernelWarehouse(['train', data, ...common, ...options, '--precision', 'bfloat16']);
  t.is(code, 0, stderr);
  t.regex(stdout, /^device +cpu, 1 threads, bfloat16$/m);
  t.is([...stderr.matchAll(note)].length, notes);
  t.is((await readCheckpoint(checkpoint)).options.precision, 'bfloat16');
  const { tensors } = await readSafetensors(checkpoint);
  t.true([...tensors.values()].every(({ type }) => type === 'F32'));
});

test.serial('eval and predict run the weights in either precision', async (t) => {
  const top1 = async (...precision: string[]) => {
    const { code, stdout, stderr } = await kernelWarehouse(['eval', data, '--weights', checkpoint, '--json', ...precision]);
    t.is(code, 0, stderr);
    return JSON.parse(stdout) as { readonly precision: string; readonly images: number };
  };
  t.like(await top1(), { precision: 'float32', images: 6 });
  t.like(await top1('--precision', 'bfloat16'), { precision: 'bfloat16', images: 6 });
  const image = join(data, 'val', 'dark', '0.png');
  const predicted = await kernelWarehouse(['predict', image, '--weights', checkpoint, '--precision', 'bfloat16']);
  t.is(predicted.code, 0, predicted.stderr);
  t.is([...predicted.stderr.matchAll(note)].length, notes);
});

test.serial('a run goes on in the precision that it had, or in another, which is said', async (t) => {
  const same = await kernelWarehouse(['train', data, ...common, '--resume', '--epochs', '2']);
  t.is(same.code, 0, same.stderr);
  t.regex(same.stdout, /^device +cpu, 1 threads, bfloat16$/m);
  const other = await kernelWarehouse(['train', data, ...common, '--resume', '--epochs', '3', '--precision', 'float32']);
  t.is(other.code, 0, other.stderr);
  t.regex(
    other.stderr,
    /: float32 instead of bfloat16 from here on; the result is not that of a run with either precision from the start\n/,
  );
  t.is((await readCheckpoint(checkpoint)).options.precision, 'float32');
});

/** docs/precision.md: how far the logits of one image may be from those that another processor computes, beside the root mean square of all. */
const kLogitTolerance = 0.03;

test.serial('predict in bfloat16 gives the same on every instruction set', async (t) => {
  const digits = join(folder, 'digits');
  const images: string[] = [];
  for (let digit = 0; digit < 10; digit++) {
    const [from, to] = [join(demo, 'train', `${digit}`), join(digits, 'train', `${digit}`)];
    mkdirSync(to, { recursive: true });
    const names = readdirSync(from).sort();
    for (const name of names.slice(0, 6)) copyFileSync(join(from, name), join(to, name));
    images.push(...names.slice(-10).map((name) => join(from, name)));
  }
  const run = join(folder, 'digits-run');
  const train = ['--network', 'kw_resnet18', '--image-size', '8', '--epochs', '2', '--batch-size', '12', '--optimizer', 'adamw'];
  const trained = await kernelWarehouse(['train', digits, '--output', run, '--threads', '1', ...train, '--learning-rate', '0.001']);
  t.is(trained.code, 0, trained.stderr);
  const logits = async (set: string) => {
    const output = join(folder, `${set}.npy`);
    const weights = ['--weights', join(run, 'checkpoint.safetensors'), '--image-size', '8', '--precision', 'bf16'];
    const { code, stderr } = await kernelWarehouse(['predict', ...images, ...weights, '--output', output, '--threads', '1'], {
      env: { KW_CPU_ISA: set },
    });
    t.is(code, 0, stderr);
    return Float64Array.from((await readNpy(output)).data as Float32Array);
  };
  const own = await logits(cpuReport().kernels);
  const others = [await logits('avx2'), await logits('baseline')];
  const size = Math.sqrt(own.reduce((sum, value) => sum + value * value, 0) / own.length);
  t.true(size > 0.05, `logits of ${size} say little`);
  for (const other of others) {
    const farthest = Math.max(...own.map((value, index) => Math.abs(value - other[index]!)));
    t.log(`off by ${(farthest / size).toExponential(1)} at most`);
    t.true(farthest <= kLogitTolerance * size, `off by ${farthest}, the root mean square is ${size}`);
  }
});

test('another word is refused', async (t) => {
  const { code, stderr } = await kernelWarehouse(['train', data, '--output', join(folder, 'none'), '--precision', 'int8']);
  t.is(code, 2);
  t.regex(stderr, /--precision <type>' argument 'int8' is invalid\. Allowed choices are float32, bf16 \(bfloat16\)/);
});
