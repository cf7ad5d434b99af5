/** Where CGC, WeightNet, DCD, SE, CBAM and ECA are in a network, what they count, and which options they take. */
import test from 'ava';
import { officialConfig, parseConfig } from '../../lib/configurations/configuration.js';
import type { Precision } from '../../lib/graph/passes/precision.js';
import type { MethodOptions } from '../../lib/methods/options.js';
import { ModelInstance } from '../../lib/models/instance.js';
import { Model } from '../../lib/models/model.js';
import { findNetwork, networkNames } from '../../lib/models/registry.js';
import { modelOptions } from '../../lib/models/select.js';
import { Device } from '../../lib/runtime/device.js';
import { Trainer } from '../../lib/train/trainer.js';
import { eachDevice } from '../devices.js';
import { fillFrom } from '../golden/fill.js';

function modelOf(network: string, method?: MethodOptions): Model {
  return new Model({ network, ...(method ? { method } : {}) });
}

/** The layers that have a tensor of this name, in the network's order. */
function layersWith(network: string, tensor: string): string[] {
  const names = modelOf(network).declarations.map(({ name }) => name);
  return names.filter((name) => name.endsWith(`.${tensor}`)).map((name) => name.slice(0, -tensor.length - 1));
}

const counts: readonly [string, number, MethodOptions?][] = [
  ['cgc_resnet18', 11_721_791],
  ['cgc_resnet50', 25_589_951],
  ['weightnet_resnet18', 11_948_376],
  ['weightnet_resnet18', 11_925_264, { floor: 8 }],
  ['dcd_resnet18', 14_703_332],
  ['se_resnet18', 11_776_552],
  ['se_resnet18', 11_778_592, { bias: true }],
  ['cbam_resnet18', 11_779_392],
  ['eca_resnet18', 11_689_548],
  ['eca_resnet18', 11_689_556, { kernelSizes: [3, 5, 7, 7] }],
];
for (const [network, count, options] of counts) {
  test(`${network} ${JSON.stringify(options ?? {})} has ${count} parameters`, (t) =>
    t.is(modelOf(network, options).parameters.count, count));
}

test('each has its places', (t) => {
  const blocks = ['layer1.0', 'layer1.1', 'layer2.0', 'layer2.1', 'layer3.0', 'layer3.1', 'layer4.0', 'layer4.1'];
  const convolutions = blocks.flatMap((block) => [`${block}.conv1`, `${block}.conv2`]);
  const same = (actual: readonly string[], expected: readonly string[]) => t.deepEqual(actual.toSorted(), expected.toSorted());
  same(layersWith('cgc_resnet18', 'ce.weight'), ['conv1', ...convolutions]);
  same(layersWith('weightnet_resnet18', 'wn_fc2.weight'), convolutions);
  same(layersWith('dcd_resnet18', 'fc_phi.weight'), [...convolutions, 'fc']);
  same(layersWith('dcd_resnet18', 'conv.weight'), convolutions);
  same(
    layersWith('se_resnet18', 'fc.2.weight'),
    blocks.map((block) => `${block}.se`),
  );
  same(
    layersWith('cbam_resnet18', 'SpatialGate.spatial.conv.weight'),
    blocks.map((block) => `${block}.cbam`),
  );
  same(
    layersWith('eca_resnet18', 'conv.weight'),
    blocks.map((block) => `${block}.eca`),
  );
  // Of a bottleneck only the 3x3 convolution.
  t.true(layersWith('dcd_resnet50', 'fc_phi.weight').every((name) => name === 'fc' || name.endsWith('.conv2')));
  t.is(layersWith('se_resnet50', 'fc.2.weight').length, 16);
  // In MobileNetV2 the 3x3 convolutions of blocks are depth-wise, which only WeightNet is defined for.
  t.is(layersWith('weightnet_mobilenetv2_100', 'wn_fc2.weight').length, 17);
  for (const name of ['cgc_mobilenetv2_100', 'dcd_mobilenetv2_100', 'se_mobilenetv2_100', 'cgc_convnext_tiny', 'se_deit_tiny'])
    t.false(networkNames().includes(name), name);
});

test('options that a method does not take, or values that it cannot have, are refused', (t) => {
  const refused = (network: string, method: MethodOptions, message: RegExp) =>
    t.throws(() => modelOf(network, method), { code: 'ERR_KW_CONFIG', message });
  refused('cgc_resnet18', { floor: 8 }, /options of cgc/);
  refused('weightnet_resnet18', { floor: 0 }, /options of weightnet: floor: /);
  refused('se_resnet18', { reduction: 2 }, /options of se: reduction: /);
  refused('eca_resnet18', { kernelSizes: [3, 4, 5, 5] }, /options of eca: kernelSizes.1: expected an odd number/);
  refused(
    'eca_resnet18',
    { kernelSizes: [3, 5] },
    /expected kernelSizes for the 4 widths of blocks, 64, 128, 256, 512 channels, but received 2/,
  );
  t.throws(() => findNetwork('se_mobilenetv2_100'), { code: 'ERR_KW_UNKNOWN_NETWORK' });
});

test('a configuration chooses the options', (t) => {
  t.deepEqual(modelOptions(officialConfig('weightnet_resnet18_floor8')), { network: 'weightnet_resnet18', method: { floor: 8 } });
  const config = parseConfig({ model: 'se_resnet18', reduction: 0.125, attention_bias: true });
  t.deepEqual(modelOptions(config), { network: 'se_resnet18', method: { reduction: 0.125, bias: true } });
  const eca = parseConfig({ model: 'eca_resnet18', eca_kernel_sizes: [3, 5, 7, 7] });
  t.deepEqual(modelOptions(eca).method, { kernelSizes: [3, 5, 7, 7] });
});

for (const method of ['cgc', 'weightnet', 'dcd', 'se', 'cbam', 'eca']) {
  eachDevice(
    test,
    `${method} trains in bfloat16 as in float32, but for rounding`,
    async (t, name) => {
      using device = Device.open(name);
      const [imageSize, batch] = [16, 8];
      const images = fillFrom('images', -1, 1, batch * imageSize * imageSize * 3);
      const targets = Int32Array.from({ length: batch }, (_, index) => index);
      const step = async (precision: Precision): Promise<{ loss: number; gradientNorm: number }> => {
        const model = new Model({ network: `${method}_resnet18`, classes: 10, stem: 'small' });
        using instance = new ModelInstance(model, device, { precision });
        await instance.initialize(1);
        using trainer = new Trainer(instance, { optimizer: { kind: 'sgd', momentum: 0, nesterov: false }, labelSmoothing: 0 });
        return trainer.step({ images, targets, imageSize, controls: { learningRate: 0, step: 1 } });
      };
      const [expected, actual] = [await step('float32'), await step('bfloat16')];
      t.not(actual.loss, expected.loss);
      t.true(Math.abs(actual.loss - expected.loss) < 0.05 * expected.loss, `a loss of ${actual.loss} instead of ${expected.loss}`);
      const norms = `a gradient norm of ${actual.gradientNorm} instead of ${expected.gradientNorm}`;
      t.true(Math.abs(actual.gradientNorm - expected.gradientNorm) < 0.2 * expected.gradientNorm, norms);
    },
    'heavy',
  );
}
