/** Which layers replaceConvolutions chooses, and whom they share with. */
import test from 'ava';
import { describedNetwork } from '../../lib/descriptions/described_network.js';
import { everyLayer, type LayerDescription, type NetworkDescription } from '../../lib/descriptions/description.js';
import { type ReplaceOptions, replaceConvolutions } from '../../lib/descriptions/replace_convolutions.js';
import { Model } from '../../lib/models/model.js';
import { registerNetwork } from '../../lib/models/registry.js';
import type { AllocationOptions } from '../../lib/warehouse/index.js';
import { residualDescription } from './descriptions.js';

const resnet18 = residualDescription([2, 2, 2, 2], false);
const resnet50 = residualDescription([3, 4, 6, 3], true);

let registered = 0;

function model(description: NetworkDescription, options: ReplaceOptions, warehouse: AllocationOptions = {}): Model {
  const name = `replaced${registered++}`;
  registerNetwork(name, describedNetwork(replaceConvolutions(description, options)));
  return new Model({ network: `kw_${name}`, warehouse });
}

/** Sharing names by layer. */
function places(description: NetworkDescription, options?: ReplaceOptions): Record<string, string> {
  const layers = everyLayer(replaceConvolutions(description, options).layers);
  return Object.fromEntries(
    [...layers].flatMap((layer) => ('sharingName' in layer && layer.sharingName !== undefined ? [[layer.name, layer.sharingName]] : [])),
  );
}

function conv(name: string, more: Partial<Extract<LayerDescription, { kind: 'conv2d' }>> = {}): LayerDescription {
  return { kind: 'conv2d', name, outChannels: 8, ...more };
}

const head: readonly LayerDescription[] = [
  { kind: 'global_avg_pool' },
  { kind: 'linear', name: 'hidden', outFeatures: 16 },
  { kind: 'linear', name: 'classifier', outFeatures: 'classes' },
];

/** Who shares with whom, and the cells of it, whatever the numbers of the warehouses. */
function groups({ allocation }: Model): unknown {
  const described = allocation?.warehouses.map(({ name, cell, m, n, layers }) => ({
    name,
    cell,
    m,
    n,
    layers: layers.map((layer) => layer.name),
  }));
  return described?.sort((a, b) => (a.name < b.name ? -1 : 1));
}

test('a described ResNet-18 gets the warehouses of kw_resnet18, cell by cell, and those of narrower sharing ranges', (t) => {
  for (const warehouse of [{}, { budget: 4 }, { budget: 0.5, cellInRatio: 0.5, cellOutRatio: 0.5 }]) {
    t.deepEqual(model(resnet18, {}, warehouse).allocation, new Model({ network: 'kw_resnet18', warehouse }).allocation);
  }
  for (const warehouse of [{ sharingRange: ['layer'] }, { sharingRange: ['conv'] }, { sharingRange: [] }]) {
    t.deepEqual(groups(model(resnet18, {}, warehouse)), groups(new Model({ network: 'kw_resnet18', warehouse })));
  }
  const { warehouses } = model(resnet18, {}).allocation ?? { warehouses: [] };
  t.deepEqual(
    warehouses.map(({ m, n, cell }) => [m, n, cell]),
    [
      [56, 56, [64, 64, 1, 1]],
      [47, 47, [128, 128, 1, 1]],
      [47, 47, [256, 256, 1, 1]],
      [27, 27, [512, 512, 1, 1]],
    ],
  );
});

test('a described ResNet-50 gets those of kw_resnet50 when its static layers are left out', (t) => {
  const isDynamic = ({ kind, name }: { kind: string; name: string }) =>
    kind === 'conv2d' && !['conv1', 'layer1.0.conv1', 'layer1.0.downsample.0'].includes(name);
  t.deepEqual(model(resnet50, { layers: isDynamic }).allocation, new Model({ network: 'kw_resnet50' }).allocation);
});

test('the description given stays as it is, and names that it has are replaced', (t) => {
  const before = structuredClone(resnet18);
  const once = replaceConvolutions(resnet18);
  t.deepEqual(resnet18, before);
  t.deepEqual(replaceConvolutions(once), once);
  t.deepEqual(places(once, { layers: ['layer1.0.conv1'] }), { 'layer1.0.conv1': 'stage0_layer0_conv0' });
  t.deepEqual(replaceConvolutions({ ...resnet18, warehouse: { budget: 2, sharingRange: [] } }).warehouse, { budget: 2, sharingRange: [] });
});

test('a plain network: a stage ends at a pool or a strided convolution, whose next reader shares with the stage before', (t) => {
  const plain: NetworkDescription = {
    layers: [
      conv('stem', { stride: 2 }),
      conv('a'),
      { kind: 'relu' },
      conv('b'),
      { kind: 'max_pool2d', kernel: 2 },
      conv('c'),
      { kind: 'stage' },
      conv('d', { groups: 8 }),
      conv('e', { stride: 2, groups: 8 }),
      conv('f'),
      ...head,
    ],
  };
  t.deepEqual(places(plain), {
    a: 'stage0_layer0_conv0',
    b: 'stage0_layer1_conv0',
    c: 'stage0_layer2_conv0',
    d: 'stage1_layer1_groupconv0',
    e: 'stage1_layer2_groupconv0',
    f: 'stage2_layer1_conv0',
  });
  t.deepEqual(places(plain, { kinds: ['conv2d', 'linear'] }), { ...places(plain), hidden: 'stage2_layer2_linear0' });
  t.deepEqual(places(plain, { kinds: ['linear'] }), { hidden: 'stage0_layer0_linear0' });
  t.deepEqual(places(plain, { reassign: false }), {
    ...places(plain),
    c: 'stage1_layer0_conv0',
    e: 'stage2_layer0_groupconv0',
  });
});

test('layers are chosen by names or by a function', (t) => {
  const network: NetworkDescription = { layers: [conv('a'), conv('b', { stride: 2 }), conv('c', { kernel: 3 }), ...head] };
  t.deepEqual(places(network, { layers: ['c', 'a'] }), { a: 'stage0_layer0_conv0', c: 'stage1_layer1_conv0' });
  // The first chosen layer begins the first stage, even if it ends that stage itself.
  t.deepEqual(places(network, { layers: ['b', 'c'] }), { b: 'stage0_layer0_conv0', c: 'stage1_layer1_conv0' });
  t.deepEqual(places(network, { layers: (layer) => layer.kind === 'conv2d' && layer.kernel === 3 }), { c: 'stage0_layer0_conv0' });
  t.deepEqual(places(network, { layers: ['classifier'], kinds: ['linear'] }), { classifier: 'stage0_layer0_linear0' });
});

test('shortcuts and residuals inside residuals', (t) => {
  const inner: LayerDescription = { kind: 'residual', layers: [conv('inner.0'), conv('inner.1')], shortcut: [conv('inner.shortcut')] };
  const strided = { stride: 2 };
  const network: NetworkDescription = {
    layers: [
      conv('stem'),
      { kind: 'residual', layers: [conv('x.0'), conv('x.1')], shortcut: [conv('x.shortcut')] },
      { kind: 'residual', layers: [inner, conv('y', strided)], shortcut: [conv('y.shortcut.0', strided), conv('y.shortcut.1')] },
      ...head,
    ],
  };
  t.deepEqual(places(network), {
    'x.0': 'stage0_layer0_conv0',
    'x.1': 'stage0_layer0_conv1',
    'x.shortcut': 'stage0_layer0_conv2',
    'inner.0': 'stage0_layer1_conv0',
    'inner.1': 'stage1_layer0_conv1',
    'inner.shortcut': 'stage0_layer2_conv0',
    y: 'stage1_layer0_conv3',
    'y.shortcut.0': 'stage0_layer2_conv1',
    'y.shortcut.1': 'stage1_layer0_conv5',
  });
});

test('choices that cannot be made are refused', (t) => {
  const refused = (options: ReplaceOptions, message: string) =>
    t.throws(() => replaceConvolutions(resnet18, options), { code: 'ERR_KW_CONFIG', message: `replaceConvolutions: ${message}` });
  refused({ layers: ['layer1.0.conv7'] }, "no convolution or linear layer is called 'layer1.0.conv7', did you mean 'layer1.0.conv1'?");
  refused({ layers: ['fc'] }, "'fc' is linear; add that to the kinds, which are conv2d");
  const none = 'these options choose no layer; a network needs at least one for a KernelWarehouse variant';
  refused({ layers: [] }, none);
  refused({ layers: () => false }, none);
  refused({ kinds: ['linear'] }, none);
  refused({ layer: ['fc'] } as ReplaceOptions, "unknown option 'layer'; did you mean 'layers'?");
  refused({ kinds: ['conv'] } as unknown as ReplaceOptions, 'expected kinds to be a list of conv2d and linear');
  refused({ layers: 'fc' } as unknown as ReplaceOptions, 'expected layers to be a list of names, or a function');
  refused({ reassign: 1 } as unknown as ReplaceOptions, 'expected reassign to be true or false');
  t.throws(() => replaceConvolutions({ layers: [] }), { code: 'ERR_KW_CONFIG', message: /at least one layer/ });
});
