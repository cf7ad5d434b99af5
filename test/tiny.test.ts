/** A smoke test of the whole way, from model to native kernels, in a second or two: `npm run test:tiny`. */
import test from 'ava';
import { ModelInstance } from '../lib/models/instance.js';
import { Model } from '../lib/models/model.js';
import { Device } from '../lib/runtime/device.js';
import { Trainer } from '../lib/train/trainer.js';
import { eachDevice } from './devices.js';

const imageSize = 8;
const size = 4;

eachDevice(
  test,
  'a KernelWarehouse network learns four images by heart',
  async (t, name) => {
    using device = Device.open(name);
    using instance = new ModelInstance(new Model({ network: 'kw_resnet18', classes: size, stem: 'small' }), device);
    await instance.initialize(0);
    using trainer = new Trainer(instance, { optimizer: { kind: 'adamw', beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }, labelSmoothing: 0 });
    const images = Float32Array.from({ length: size * imageSize * imageSize * 3 }, (_, index) => Math.sin(index * index));
    const targets = Int32Array.from({ length: size }, (_, index) => index);
    const losses: number[] = [];
    for (let step = 1; step <= 6; step++) {
      const { loss } = await trainer.step({ images, targets, imageSize, controls: { temperature: 1, learningRate: 1e-3, step } });
      losses.push(loss);
    }
    t.true((losses.at(-1) as number) < 0.5 * (losses[0] as number), `losses ${losses.map((loss) => loss.toFixed(3)).join(', ')}`);
  },
  'heavy',
);
