/** Methods as networks: names, places, counts, options and what is refused. */
import test from 'ava';
import { parseConfig } from '../../lib/configurations/configuration.js';
import { KernelWarehouseError } from '../../lib/errors.js';
import { globalAvgPool } from '../../lib/graph/ops/global_avg_pool.js';
import { convolutionSpec } from '../../lib/layers/layer.js';
import type { MethodOptions } from '../../lib/methods/options.js';
import { ModelInstance } from '../../lib/models/instance.js';
import { Model } from '../../lib/models/model.js';
import { findNetwork, networkNames, registerNetwork } from '../../lib/models/registry.js';
import { modelOptions, selectModel } from '../../lib/models/select.js';
import type { Network } from '../../lib/networks/network.js';
import { resnet18 } from '../../lib/networks/resnet.js';
import { Device } from '../../lib/runtime/device.js';
import { eachDevice } from '../devices.js';

const count = (name: string) => new Model(selectModel(name).model).parameters.count;

/** Those of the paper's rows; `plan --all` shows them, too. */
const counts = {
  dyconv_resnet18: 45_472_052,
  dyconv4x_contrasting_resnet18: 45_472_052,
  dyconv_resnet50: 100_878_072,
  dyconv_mobilenetv2_100: 12_404_540,
  dyconv_mobilenetv2_050: 4_567_338,
  odconv_resnet18: 44_901_640,
  odconv4x_contrasting_resnet18: 44_901_640,
  odconv_resnet50: 90_670_888,
  odconv_mobilenetv2_100: 11_515_637,
  odconv_mobilenetv2_050: 4_437_421,
  condconv_resnet18: 81_345_120,
};

for (const [name, expected] of Object.entries(counts))
  test(`${name} has the method's number of parameters`, (t) => t.is(count(name), expected));

test("ODConv's own MobileNetV2 keeps the stem static", (t) => {
  t.is(new Model({ network: 'odconv_mobilenetv2_100', method: { stem: false } }).parameters.count, 11_512_149);
  t.is(new Model({ network: 'odconv_mobilenetv2_050', method: { stem: false } }).parameters.count, 4_435_501);
});

test('each method has its places in a ResNet', (t) => {
  const kernels = (network: string) =>
    new Model({ network }).declarations.flatMap(({ name, shape }) =>
      /weight$/.test(name) && (shape.length === 5 || /^fc\.weight/.test(name)) ? [`${name} [${shape}]`] : [],
    );
  const dyconv = kernels('dyconv_resnet18');
  t.is(dyconv.length, 20);
  t.true(dyconv.includes('layer2.0.downsample.0.weight [4,128,64,1,1]'));
  t.true(dyconv.includes('fc.weight [1000,512]'));
  const odconv = kernels('odconv_resnet50');
  t.is(odconv.length, 49);
  t.false(odconv.some((text) => /conv1\.weight \[4,64,3|downsample/.test(text)));
  t.deepEqual(kernels('condconv_resnet18'), [
    'layer3.1.conv1.weight [8,256,256,3,3]',
    'layer3.1.conv2.weight [8,256,256,3,3]',
    'layer4.0.conv1.weight [8,512,256,3,3]',
    'layer4.0.conv2.weight [8,512,512,3,3]',
    'layer4.1.conv1.weight [8,512,512,3,3]',
    'layer4.1.conv2.weight [8,512,512,3,3]',
    'fc.weight [8,1000,512]',
  ]);
});

test('initial values are those of the definitions', (t) => {
  const declared = (network: string, name: string) => new Model({ network }).parameters.entry(name).declaration.initialization;
  const normal = (fanOut: number) => ({ kind: 'normal', deviation: Math.sqrt(2 / fanOut) });
  t.deepEqual(declared('dyconv_resnet18', 'layer1.0.conv1.weight'), normal(64 * 9));
  // Kaiming's fan-out, as in PyTorch, does not see groups.
  t.deepEqual(declared('dyconv_mobilenetv2_100', 'features.1.conv.0.0.weight'), normal(32 * 9));
  t.deepEqual(declared('dyconv_resnet18', 'layer1.0.conv1.attention.fc1.weight'), normal(16));
  t.deepEqual(declared('odconv_resnet18', 'layer1.0.conv1.attention.spatial_fc.weight'), normal(9));
  t.deepEqual(declared('odconv_resnet18', 'layer1.0.conv1.weight'), normal(64 * 9));
  t.deepEqual(declared('odconv_resnet18', 'layer1.0.conv1.attention.bn.weight'), { kind: 'ones' });
  t.deepEqual(declared('condconv_resnet18', 'layer4.1.conv1.weight'), normal(512 * 9));
  t.deepEqual(declared('condconv_resnet18', 'layer4.1.route.fc.bias'), { kind: 'uniform', bound: 1 / Math.sqrt(512) });
  t.deepEqual(declared('condconv_resnet18', 'fc.weight'), { kind: 'uniform', bound: 1 / Math.sqrt(512) });
});

test('a method is for the networks that tell what it needs', (t) => {
  const names = networkNames();
  for (const name of ['dyconv_resnet18', 'odconv_mobilenetv2_100', 'condconv_resnet50']) t.true(names.includes(name), name);
  for (const name of ['dyconv_deit_tiny', 'odconv_convnext_tiny', 'condconv_mobilenetv2_100']) t.false(names.includes(name), name);
  t.is(findNetwork('odconv_resnet50').family, 'resnet50');
  t.is(findNetwork('resnet50').method, undefined);
  const message = /^no network 'dyconv_deit_small'/;
  t.throws(() => new Model({ network: 'dyconv_deit_small' }), { code: 'ERR_KW_UNKNOWN_NETWORK', message });
});

test('a network of ones own gets the methods for which it tells enough', (t) => {
  registerNetwork('quiet', { ...resnet18, tells: ['stem'] });
  t.deepEqual(
    networkNames().filter((name) => name.endsWith('_quiet')),
    ['kw_quiet', 'dyconv_quiet'],
  );
  registerNetwork('small_kernels', { ...resnet18, methodDefaults: { dyconv: { kernels: 2 } } });
  t.is(new Model({ network: 'dyconv_small_kernels', method: { kernels: 4 } }).parameters.count, counts.dyconv_resnet18);
  t.deepEqual(
    new Model({ network: 'dyconv_small_kernels' }).parameters.entry('layer1.0.conv1.weight').declaration.shape,
    [2, 64, 64, 3, 3],
  );
  const refused = (network: object, message: RegExp) =>
    t.throws(() => registerNetwork('refused', { ...resnet18, ...network } as Network), { instanceOf: KernelWarehouseError, message });
  refused({ tells: ['stm'] }, /^network 'refused': tells: unknown option 'stm'; did you mean 'stem'\?$/);
  refused({ tells: 'stem' }, /^network 'refused': expected tells to be a list of stem, .*, got "stem"$/);
  refused({ methodDefaults: { dyconf: {} } }, /methodDefaults: unknown option 'dyconf'; did you mean 'dyconv'\?$/);
  refused({ methodDefaults: { dyconv: { stem: true } } }, /methodDefaults: dyconv: unknown option 'stem'/);
});

test('options that a method does not take, or not with this value, are refused', (t) => {
  const refused = (network: string, method: object, message: RegExp) =>
    t.throws(() => new Model({ network, method: method as MethodOptions }), { code: 'ERR_KW_CONFIG', message });
  refused('dyconv_resnet18', { stem: true }, /^options of dyconv: unknown option 'stem'/);
  refused('condconv_resnet18', { attention: 'contrasting' }, /^options of condconv: unknown option 'attention'/);
  refused('odconv_resnet18', { kernels: 0 }, /^options of odconv: kernels: expected number to be >=1, got 0$/);
  refused('odconv_resnet18', { attention: 'sigmoid', reduction: 2 }, /attention: .*"softmax"\|"contrasting", got "sigmoid"; reduction: /);
  refused('resnet18', {}, /^'resnet18' is static and takes no options of a method; networks that do are called <method>_resnet18$/);
  refused('kw_resnet18', {}, /^'kw_resnet18' is of method kw and takes its method's options as warehouse options; give them as warehouse$/);
  t.throws(() => new Model({ network: 'dyconv_resnet18', warehouse: {} }), {
    code: 'ERR_KW_CONFIG',
    message: "'dyconv_resnet18' is of method dyconv and takes no warehouse options; the KernelWarehouse network is 'kw_resnet18'",
  });
});

test('a configuration gives a method its options, and no other', (t) => {
  const config = { kernel_num: 2, attention_function: 'contrasting', reduction: 0.125 };
  t.deepEqual(modelOptions(parseConfig({ model: 'dyconv_resnet18', ...config })), {
    network: 'dyconv_resnet18',
    method: { kernels: 2, attention: 'contrasting', reduction: 0.125 },
  });
  t.deepEqual(selectModel('odconv4x_mobilenetv2_100').model.method, { kernels: 4, stem: true });
  const refused = (fields: object, message: string) =>
    t.throws(() => modelOptions(parseConfig(fields)), { code: 'ERR_KW_CONFIG', message });
  refused(
    { model: 'dyconv_resnet18', cell_num_ratio: 2, sharing_range: 'layer' },
    'dyconv_resnet18 takes no cell_num_ratio, sharing_range; leave that out',
  );
  refused({ model: 'kw_resnet18', kernel_num: 4 }, 'kw_resnet18 takes no kernel_num; leave that out');
});

eachDevice(test, 'the softmax temperature is 1 where nobody sets it, and above 0', async (t, name) => {
  using device = Device.open(name);
  const network: Network = {
    tells: ['stem'],
    build: (context, x, convolution, { classes }) => {
      const spec = { name: 'conv', inChannels: 3, outChannels: classes, kernel: 3, padding: 1 };
      return { logits: globalAvgPool(convolution(context, x, convolutionSpec(spec))) };
    },
  };
  registerNetwork(`one_layer_${name}`, network);
  using instance = new ModelInstance(new Model({ network: `dyconv_one_layer_${name}`, classes: 2 }), device);
  await instance.initialize(1);
  const images = Float32Array.from({ length: 5 * 5 * 3 }, (_, index) => 30 * Math.sin(index * index));
  const logits = () => instance.logits(images, 1, 5);
  const fresh = await logits();
  t.true(fresh.every(Number.isFinite));
  await instance.setControls({ softmaxTemperature: 1 });
  t.deepEqual(await logits(), fresh);
  await instance.setControls({ softmaxTemperature: 30 });
  t.notDeepEqual(await logits(), fresh);
  await t.throwsAsync(instance.setControls({ softmaxTemperature: 0 }), {
    code: 'ERR_KW_INVALID_ARGUMENT',
    message: 'controls: expected softmaxTemperature above 0, because logits are divided by it, got 0',
  });
});
