/** Training in bfloat16 goes the way of float32: the same digits, seed and steps in both. */
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { readSplitFolder } from '../../lib/data/folder.js';
import { ImageLoader } from '../../lib/data/loader.js';
import type { Precision } from '../../lib/graph/passes/precision.js';
import { ModelInstance } from '../../lib/models/instance.js';
import { Model } from '../../lib/models/model.js';
import { Device } from '../../lib/runtime/device.js';
import { Trainer } from '../../lib/train/trainer.js';
import { eachDevice } from '../devices.js';

const digits = fileURLToPath(new URL('../../../demo/digits', import.meta.url));
const optimizer = { kind: 'adamw', beta1: 0.9, beta2: 0.999, epsilon: 1e-8 } as const;
const imageSize = 8;

/** The losses of two epochs of 5 batches of digits. */
async function losses(device: Device, precision: Precision): Promise<number[]> {
  const { train } = await readSplitFolder(digits);
  const samples = train.samples.filter((_, index) => index % 16 === 0).slice(0, 80);
  const loader = new ImageLoader({ classes: train.classes, samples }, { batchSize: 16, imageSize, shuffle: true, seed: 1 });
  using instance = new ModelInstance(new Model({ network: 'kw_resnet18', classes: 10, stem: 'small' }), device, { precision });
  await instance.initialize(1);
  using trainer = new Trainer(instance, { optimizer, labelSmoothing: 0.1 });
  const found: number[] = [];
  for (const epoch of [0, 1]) {
    for await (const { images, targets } of loader.batches(epoch)) {
      const controls = { temperature: 1, learningRate: 5e-4, weightDecay: 0.05, step: found.length + 1, seed: 1 };
      found.push((await trainer.step({ images, targets, imageSize, controls })).loss);
    }
  }
  return found;
}

eachDevice(
  test,
  'a network learns digits in bfloat16 as in float32',
  async (t, name) => {
    t.timeout(300_000);
    using device = Device.open(name, { threads: 1 });
    const expected = await losses(device, 'float32');
    const actual = await losses(device, 'bfloat16');
    const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
    t.true(mean(expected.slice(5)) < 0.9 * mean(expected.slice(0, 3)), `float32 learns: ${expected}`);
    t.notDeepEqual(actual, expected);
    t.true(Math.abs(actual[0]! - expected[0]!) < 0.02 * expected[0]!, `the first losses are ${actual[0]} and ${expected[0]}`);
    const [second, reference] = [mean(actual.slice(5)), mean(expected.slice(5))];
    t.true(Math.abs(second - reference) < 0.1 * reference, `the mean losses of the second epoch are ${second} and ${reference}`);
  },
  'heavy',
);
