/** Whole training steps on a GPU, real or emulated, beside the CPU's: forward, backward and optimizer of a small network, recorded and replayed. */
import test from 'ava';
import type { Precision } from '../../lib/graph/passes/precision.js';
import { ModelInstance } from '../../lib/models/instance.js';
import { Model, type ModelOptions } from '../../lib/models/model.js';
import { Device } from '../../lib/runtime/device.js';
import { Trainer } from '../../lib/train/trainer.js';
import { devicesPresent, type NativeDeviceName } from '../devices.js';
import { l2 } from '../golden/tolerance.js';

const imageSize = 16;
const classes = 5;

interface Result {
  readonly losses: number[];
  readonly norms: number[];
  readonly logits: Float32Array;
  readonly parameters: Float32Array;
}

/** Three steps, of two images, two again and one; the logits afterwards. */
async function train(name: NativeDeviceName, options: ModelOptions, precision: Precision): Promise<Result> {
  using device = Device.open(name, { threads: 1 });
  using instance = new ModelInstance(new Model({ classes, stem: 'small', ...options }), device, { precision });
  await instance.initialize(3);
  const optimizer = { kind: 'adamw', beta1: 0.9, beta2: 0.999, epsilon: 1e-8 } as const;
  using trainer = new Trainer(instance, { optimizer, labelSmoothing: 0.1 });
  const images = Float32Array.from({ length: 2 * imageSize * imageSize * 3 }, (_, index) => Math.sin(index * index));
  const losses: number[] = [];
  const norms: number[] = [];
  for (const [index, size] of [2, 2, 1].entries()) {
    const step = await trainer.step({
      images: images.subarray(0, size * imageSize * imageSize * 3),
      targets: Int32Array.from({ length: size }, (_, image) => (image + index) % classes),
      imageSize,
      controls: { temperature: 0.75, learningRate: 1e-4, weightDecay: 0.01, step: index + 1, seed: 7 },
    });
    losses.push(step.loss);
    norms.push(step.gradientNorm);
  }
  const logits = await instance.logits(images, 2, imageSize);
  return { losses, norms, logits, parameters: new Float32Array(await instance.parameters.read()) };
}

const networks: Record<string, ModelOptions> = {
  kw_resnet18: { network: 'kw_resnet18' },
  kw_mobilenetv2_050: { network: 'kw_mobilenetv2_050', dropout: 0.2 },
};
const cases = [
  ['kw_resnet18', 'float32', 2e-4],
  ['kw_resnet18', 'bfloat16', 6e-2],
  ['kw_mobilenetv2_050', 'float32', 2e-4],
] as const;

if (devicesPresent().includes('cuda')) {
  for (const [network, precision, tolerance] of cases) {
    test.serial(`training steps of ${network} in ${precision} on cuda agree with the CPU's`, async (t) => {
      t.timeout(600_000);
      const expected = await train('cpu', networks[network] as ModelOptions, precision);
      const actual = await train('cuda', networks[network] as ModelOptions, precision);
      const again = await train('cuda', networks[network] as ModelOptions, precision);
      t.deepEqual(again, actual, 'the same run twice gives the same bits');
      const difference = (name: 'losses' | 'norms' | 'logits' | 'parameters') => {
        const of = (result: Result) => Float64Array.from(result[name]);
        return l2(of(actual).map((value, i) => value - of(expected)[i]!)) / l2(of(expected));
      };
      for (const name of ['losses', 'norms', 'logits', 'parameters'] as const) {
        t.log(`${name}: ${difference(name).toExponential(1)}`);
        t.true(difference(name) <= tolerance, `${name} are off by ${difference(name)} of their norm`);
      }
    });
  }
} else {
  test.skip("training steps on cuda agree with the CPU's: there is no GPU, nor the emulated one that `npm test` builds", (t) => t.fail());
}
