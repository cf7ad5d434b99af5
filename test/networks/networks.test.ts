/** Every registered network, static and dynamic. */
import test from 'ava';
import { Graph } from '../../lib/graph/graph.js';
import { ModelInstance } from '../../lib/models/instance.js';
import { imageSizeOption, Model, suitableStem } from '../../lib/models/model.js';
import { networkNames, registerNetwork } from '../../lib/models/registry.js';
import type { Network } from '../../lib/networks/network.js';
import { resnet18 } from '../../lib/networks/resnet.js';
import { Device } from '../../lib/runtime/device.js';
import { Trainer } from '../../lib/train/trainer.js';
import { eachDevice } from '../devices.js';

/** All but the methods' large networks, which are made of the same layers as the small ones. */
const paperNetworks = networkNames().filter((name) => !/^(?!kw_).+_resnet50$/.test(name));

/** Counts of the static networks with 1000 classes: PyTorch's own. */
const staticCounts = {
  resnet18: 11_689_512,
  resnet50: 25_557_032,
  mobilenetv2_100: 3_504_872,
  mobilenetv2_050: 1_968_680,
  convnext_tiny: 28_589_128,
  deit_tiny: 5_717_416,
  deit_small: 22_050_664,
};

for (const [network, count] of Object.entries(staticCounts)) {
  test(`${network} has as many parameters as in PyTorch`, (t) => t.is(new Model({ network }).parameters.count, count));
}

test('feature maps shrink from stage to stage', (t) => {
  const shapes = (network: string): number[][] => {
    const graph = new Graph();
    const model = new Model({ network, ...imageSizeOption(network, 64) });
    const stages = Array.from({ length: network.includes('mobilenet') ? 5 : 4 }, (_, index) => index);
    return model.forwardStages(graph, graph.input('images', [2, 64, 64, 3]), false, stages).map(({ shape }) => shape.slice(1));
  };
  const square = (size: number, channels: number) => [size, size, channels];
  t.deepEqual(shapes('kw_resnet18'), [square(16, 64), square(8, 128), square(4, 256), square(2, 512)]);
  t.deepEqual(shapes('resnet50'), [square(16, 256), square(8, 512), square(4, 1024), square(2, 2048)]);
  t.deepEqual(shapes('kw_mobilenetv2_050'), [square(32, 8), square(16, 16), square(8, 16), square(4, 48), square(2, 1280)]);
  t.deepEqual(shapes('convnext_tiny'), [square(16, 96), square(8, 192), square(4, 384), square(2, 768)]);
  t.deepEqual(shapes('kw_deit_tiny'), Array(4).fill(square(4, 192)));
});

test('a stage that a network does not have is refused', (t) => {
  const graph = new Graph();
  const x = graph.input('images', [1, 64, 64, 3]);
  t.throws(() => new Model({ network: 'resnet18' }).forwardStages(graph, x, false, [4]), {
    code: 'ERR_KW_INVALID_ARGUMENT',
    message: "'resnet18' has stages 0 to 3, not stage 4",
  });
});

test('networks take the stems that they have', (t) => {
  t.is(suitableStem('kw_resnet18', 32), 'small');
  t.is(suitableStem('kw_resnet18', 224), 'large');
  t.is(suitableStem('convnext_tiny', 32), 'large');
  t.throws(() => new Model({ network: 'convnext_tiny', stem: 'small' }), {
    code: 'ERR_KW_CONFIG',
    message: /convnext_tiny: expected stem 'large'/,
  });
  const final = (stem: 'small' | 'large') => {
    const graph = new Graph();
    const [map] = new Model({ network: 'mobilenetv2_100', stem }).forwardStages(graph, graph.input('images', [1, 32, 32, 3]), false, [4]);
    return map?.shape;
  };
  t.deepEqual(final('large'), [1, 1, 1, 1280]);
  t.deepEqual(final('small'), [1, 2, 2, 1280]);
});

test('DeiT takes images of one size', (t) => {
  const graph = new Graph();
  const model = new Model({ network: 'deit_tiny' });
  t.throws(() => model.forward(graph, graph.input('images', [1, 192, 192, 3]), false), {
    code: 'ERR_KW_SHAPE',
    message: /224x224, but these are 192x192; resize them to 224x224, .* --image-size 224; a model for 192x192/,
  });
  for (const [height, width] of [
    [192, 224],
    [33, 33],
  ] as const) {
    const other = new Graph();
    t.throws(() => model.forward(other, other.input('images', [1, height, width, 3]), false), { message: /--image-size 224$/ });
  }
  t.throws(() => new Model({ network: 'deit_tiny', imageSize: 100 }), {
    code: 'ERR_KW_CONFIG',
    message: /multiple of 16 pixels, not 100; give imageSize 96, on the command line --image-size 96$/,
  });
  t.is(new Model({ network: 'deit_tiny', imageSize: 192 }).parameters.entry('pos_embed').size, 192 * (12 * 12 + 1));
});

test('layer scale may be left out and the classifier scaled', (t) => {
  const { parameters } = new Model({ network: 'convnext_tiny', layerScale: 0, headScale: 0.5 });
  t.false(parameters.entries.some(({ declaration }) => declaration.name.endsWith('gamma')));
  t.deepEqual(parameters.entry('head.weight').declaration.initialization, { kind: 'normal', deviation: 0.01 });
  t.throws(() => new Model({ network: 'convnext_tiny', layerScale: -1 }), { code: 'ERR_KW_CONFIG' });
});

test('a network of the user is known under its name and as a KernelWarehouse network', (t) => {
  const tiny: Network = { ...resnet18, warehouse: { sharingRange: ['layer', 'conv'], budget: 2 } };
  registerNetwork('my_network.v1', tiny);
  t.is(new Model({ network: 'my_network.v1' }).parameters.count, staticCounts.resnet18);
  t.is(new Model({ network: 'kw_my_network.v1' }).parameters.count, 23_242_127);
  t.throws(() => registerNetwork('my_network.v1', tiny), { code: 'ERR_KW_INVALID_ARGUMENT', message: /registered already/ });
  t.throws(() => registerNetwork('kw_other', tiny), { code: 'ERR_KW_INVALID_ARGUMENT', message: /give 'other'/ });
  t.throws(() => registerNetwork('a/b', tiny), { code: 'ERR_KW_INVALID_ARGUMENT' });
});

const imageSize = 32;

for (const network of paperNetworks) {
  eachDevice(
    test.serial as typeof test,
    `${network} trains, with batches of three and one`,
    async (t, name) => {
      t.timeout(120_000);
      using device = Device.open(name);
      const stem = suitableStem(network, imageSize);
      const options = { network, classes: 3, stem, dropPath: 0.1, dropout: 0.1, ...imageSizeOption(network, imageSize) };
      using instance = new ModelInstance(new Model(options), device);
      await instance.initialize(0);
      using trainer = new Trainer(instance, { optimizer: { kind: 'sgd', momentum: 0.9, nesterov: true }, labelSmoothing: 0 });
      const images = Float32Array.from({ length: 3 * imageSize * imageSize * 3 }, (_, index) => Math.sin(index * index));
      for (const [step, batch] of [3, 1].entries()) {
        const { loss, gradientNorm } = await trainer.step({
          images: images.subarray(0, batch * imageSize * imageSize * 3),
          targets: Int32Array.from({ length: batch }, (_, index) => index),
          imageSize,
          controls: { temperature: 0.5, learningRate: 1e-3, step: step + 1 },
        });
        t.true(Number.isFinite(loss) && loss > 0 && loss < 20, `loss ${loss}`);
        t.true(gradientNorm > 0 && Number.isFinite(gradientNorm), `gradient norm ${gradientNorm}`);
      }
    },
    'heavy',
  );
}

eachDevice(
  test,
  'feature maps come from a device',
  async (t, name) => {
    using device = Device.open(name);
    using instance = new ModelInstance(new Model({ network: 'kw_resnet18', stem: 'small' }), device);
    await instance.initialize(0);
    const images = Float32Array.from({ length: 2 * 16 * 16 * 3 }, (_, index) => Math.sin(index * index));
    const maps = await instance.stages(images, 2, 16, 16, [3, 0]);
    t.deepEqual(
      maps.map(({ shape }) => shape),
      [
        [2, 2, 2, 512],
        [2, 16, 16, 64],
      ],
    );
    t.true(maps.every(({ shape, data }) => data.length === shape.reduce((a, b) => a * b, 1) && data.some((value) => value > 0)));
    await t.throwsAsync(instance.stages(images, 2, 16, 16, [1, 1]), { code: 'ERR_KW_INVALID_ARGUMENT' });
    await t.throwsAsync(instance.stages(images, 1, 16, 16, [1]), { code: 'ERR_KW_SHAPE' });
  },
  'heavy',
);
