/** A network of another method than KernelWarehouse with every command that takes networks: its temperatures are kept and used. */
import { join } from 'node:path';
import test from 'ava';
import { openCheckpoint } from '../../lib/checkpoint/checkpoint_file.js';
import { readSafetensors } from '../../lib/checkpoint/safetensors.js';
import { readCheckpoint, readDescription } from '../../lib/train/checkpoint.js';
import { kernelWarehouse, makeFolder, makeImages } from './program.js';

const { path: folder, remove } = makeFolder();
test.after.always(remove);
const data = join(folder, 'data');
const whole = join(folder, 'whole');
const best = join(whole, 'best.safetensors');
const network = ['--network', 'dyconv4x_mobilenetv2_050', '--threads', '1'];
const options = [
  '--image-size',
  '16',
  '--batch-size',
  '4',
  '--epochs',
  '1',
  '--learning-rate',
  '0.01',
  '--softmax-temperature-epochs',
  '2',
];

test.before(() => makeImages(data, { train: 6, val: 3 }));

test.serial('plan counts it', async (t) => {
  const { code, stdout, stderr } = await kernelWarehouse(['plan', 'dyconv4x_mobilenetv2_050', '--json']);
  t.is(code, 0, stderr);
  const [report] = JSON.parse(stdout) as { readonly params: number; readonly network: string; readonly warehouses: readonly unknown[] }[];
  t.like(report, { params: 4_567_338, network: 'dyconv_mobilenetv2_050', warehouses: [] });
});

test.serial('it trains with its own temperature, which the checkpoint keeps', async (t) => {
  const { code, stdout, stderr } = await kernelWarehouse(['train', data, '--output', whole, ...network, ...options]);
  t.is(code, 0, stderr);
  t.regex(stdout, /^network +dyconv_mobilenetv2_050 \(dyconv4x_mobilenetv2_050\), [\d,]+ parameters, small stem$/m);
  const checkpoint = await readCheckpoint(join(whole, 'checkpoint.safetensors'));
  // Three of six iterations of its schedule, and of thirty of τ's.
  t.is(checkpoint.softmaxTemperature, 15.5);
  t.is(checkpoint.temperature, 0.9);
  t.deepEqual(checkpoint.model.method, { kernels: 4 });
  t.is(checkpoint.options.softmaxTemperatureEpochs, 2);
});

test.serial('eval computes with that temperature', async (t) => {
  const { code, stdout, stderr } = await kernelWarehouse(['eval', data, '--weights', best, '--json', '--threads', '1']);
  t.is(code, 0, stderr);
  const { top1 } = JSON.parse(stdout) as { readonly top1: number };
  const { history } = (await readCheckpoint(best)).progress;
  t.is(top1, (history[0]?.validation?.top1 ?? Number.NaN) / 6);
});

test.serial('stopped and resumed, it comes to the same bits', async (t) => {
  const stopped = join(folder, 'stopped');
  const start = ['train', data, '--output', stopped, ...network, ...options];
  const first = await kernelWarehouse(start, { signals: { when: /^checkpoint/m, names: ['SIGINT'] } });
  t.is(first.code, 130, first.stderr);
  const second = await kernelWarehouse(['train', data, '--output', stopped, '--resume', ...network]);
  t.is(second.code, 0, second.stderr);
  const tensorsOf = async (path: string) => (await readSafetensors(join(path, 'checkpoint.safetensors'))).tensors;
  const [actual, expected] = [await tensorsOf(stopped), await tensorsOf(whole)];
  t.deepEqual([...actual.keys()], [...expected.keys()]);
  const bytes = (array: ArrayBufferView) => Buffer.from(array.buffer, array.byteOffset, array.byteLength);
  for (const [name, { data: values }] of expected) t.true(bytes(values).equals(bytes(actual.get(name)?.data ?? new Uint8Array())), name);
});

test.serial('another method of the same network is not what was trained', async (t) => {
  const other = await kernelWarehouse([
    'train',
    data,
    '--output',
    whole,
    '--resume',
    '--network',
    'odconv4x_mobilenetv2_050',
    '--threads',
    '1',
  ]);
  t.is(other.code, 1);
  t.regex(other.stderr, /--network is dyconv_mobilenetv2_050 with other options there, odconv4x_mobilenetv2_050 here/);
});

test.serial('convert and predict take it by its description and by name', async (t) => {
  const slim = join(folder, 'slim.safetensors');
  const { code, stdout, stderr } = await kernelWarehouse(['convert', best, slim]);
  t.is(code, 0, stderr);
  t.regex(stdout, /^network +dyconv_mobilenetv2_050, 2 classes$/m);
  await using file = await openCheckpoint(slim);
  t.is(readDescription(file)?.softmaxTemperature, 15.5);
  const image = join(data, 'val', 'dark', '0.png');
  const predicted = await kernelWarehouse(['predict', image, '--weights', slim, '--threads', '1']);
  t.is(predicted.code, 0, predicted.stderr);
  t.regex(predicted.stdout, /0\.png {2}(dark|light) [\d.]+ %/);
});

test.serial('a method that is not for a network is refused', async (t) => {
  const { code, stderr } = await kernelWarehouse(['plan', 'dyconv_deit_small']);
  t.is(code, 1);
  t.regex(stderr, /^kernel-warehouse: no network or configuration 'dyconv_deit_small'/);
});
