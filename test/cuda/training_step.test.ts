/** Whole training steps on a GPU, real or emulated, beside the CPU's: forward, backward and optimizer of a small network, recorded and replayed. */
import test from 'ava';
import type { Precision } from '../../lib/graph/passes/precision.js';
import { ModelInstance } from '../../lib/models/instance.js';
import { Model } from '../../lib/models/model.js';
import type { ModelOptions } from '../../lib/models/model_options.js';
import { Device } from '../../lib/runtime/device.js';
import { Trainer } from '../../lib/train/trainer.js';
import { devicesPresent, type NativeDeviceName } from '../devices.js';
import { l2 } from '../golden/tolerance.js';

const classes = 5;
const size = 4;

interface Result {
  readonly losses: number[];
  readonly norms: number[];
  readonly logits: Float32Array;
}

/** Two steps: the first is run step by step, the second as it was recorded. Then the logits of inference. */
async function train(name: NativeDeviceName, options: ModelOptions, imageSize: number, precision: Precision): Promise<Result> {
  using device = Device.open(name, { threads: 1 });
  using instance = new ModelInstance(new Model({ classes, stem: 'small', ...options }), device, { precision });
  await instance.initialize(3);
  const optimizer = { kind: 'adamw', beta1: 0.9, beta2: 0.999, epsilon: 1e-8 } as const;
  using trainer = new Trainer(instance, { optimizer, labelSmoothing: 0.1 });
  const images = Float32Array.from({ length: size * imageSize * imageSize * 3 }, (_, index) => Math.sin(index * index));
  const targets = Int32Array.from({ length: size }, (_, image) => image % classes);
  const losses: number[] = [];
  const norms: number[] = [];
  for (const step of [1, 2]) {
    const controls = { temperature: 0.75, learningRate: 1e-4, weightDecay: 0.01, step, seed: 7 };
    const { loss, gradientNorm } = await trainer.step({ images, targets, imageSize, controls });
    losses.push(loss);
    norms.push(gradientNorm);
  }
  return { losses, norms, logits: await instance.logits(images, size, imageSize) };
}

/**
 * How far the device may be from the CPU, relative: losses and norms of each step, and the logits. What one step rounds otherwise is magnified by
 * BatchNorms over few values in the next, most in MobileNetV2.
 */
const cases = [
  { network: 'kw_resnet18', imageSize: 16, precision: 'float32', loss: [1e-5, 1e-3], norm: [1e-4, 1e-2], logits: 1e-2 },
  { network: 'kw_resnet18', imageSize: 16, precision: 'bfloat16', loss: [2e-2, 2e-2], norm: [2e-2, 6e-2], logits: 0.1 },
  { network: 'kw_mobilenetv2_050', imageSize: 32, precision: 'float32', loss: [1e-4, 2e-2], norm: [3e-2, 0.3], logits: 0.2 },
] as const;

const relative = (actual: number, expected: number) => Math.abs(actual - expected) / Math.abs(expected);

if (devicesPresent().includes('cuda')) {
  for (const { network, imageSize, precision, ...allowed } of cases) {
    test.serial(`training steps of ${network} in ${precision} on cuda agree with the CPU's`, async (t) => {
      t.timeout(600_000);
      const options = { network, dropout: network === 'kw_resnet18' ? 0 : 0.2 };
      const expected = await train('cpu', options, imageSize, precision);
      const actual = await train('cuda', options, imageSize, precision);
      for (const step of [0, 1]) {
        const [loss, norm] = [relative(actual.losses[step]!, expected.losses[step]!), relative(actual.norms[step]!, expected.norms[step]!)];
        t.log(`step ${step + 1}: loss off by ${loss.toExponential(1)}, gradient norm by ${norm.toExponential(1)}`);
        t.true(loss <= allowed.loss[step]!, `the loss of step ${step + 1} is ${actual.losses[step]} instead of ${expected.losses[step]}`);
        t.true(norm <= allowed.norm[step]!, `the norm of step ${step + 1} is ${actual.norms[step]} instead of ${expected.norms[step]}`);
      }
      const [logits, reference] = [Float64Array.from(actual.logits), Float64Array.from(expected.logits)];
      const difference = l2(logits.map((value, i) => value - reference[i]!)) / l2(reference);
      t.log(`logits off by ${difference.toExponential(1)}`);
      t.true(difference <= allowed.logits, `the logits are off by ${difference} of their norm`);
    });
  }

  test.serial('the same training on cuda gives the same bits', async (t) => {
    t.timeout(600_000);
    const run = () => train('cuda', { network: 'kw_mobilenetv2_050', dropout: 0.2 }, 16, 'bfloat16');
    t.deepEqual(await run(), await run());
  });
} else {
  test.skip("training steps on cuda agree with the CPU's: there is no GPU, nor the emulated one that `npm test` builds", (t) => t.fail());
}
