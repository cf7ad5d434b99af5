/** Descriptions: what they build, and what is said of those that are wrong. */
import test from 'ava';
import { describedNetwork } from '../../lib/descriptions/described_network.js';
import { type NetworkDescription, parseDescription } from '../../lib/descriptions/description.js';
import { replaceConvolutions } from '../../lib/descriptions/replace_convolutions.js';
import { Graph } from '../../lib/graph/graph.js';
import { inferencePlan } from '../../lib/models/instance.js';
import { Model } from '../../lib/models/model.js';
import type { ModelOptions } from '../../lib/models/model_options.js';
import { registerNetwork } from '../../lib/models/registry.js';
import { trainingPlan } from '../../lib/models/training_plan.js';
import type { Plan } from '../../lib/plan/plan.js';
import { residualDescription } from './descriptions.js';

const resnet18 = residualDescription([2, 2, 2, 2], false);
registerNetwork('described_resnet18', describedNetwork(replaceConvolutions(resnet18)));

/** Everything but the labels, which name layers that a description may leave without a name. */
function work({ buffers, tensors, steps }: Plan): unknown {
  return { buffers, tensors, steps: steps.map(({ label: _, ...step }) => step) };
}

let registered = 0;

/** Makes a model of a description, with 3 classes unless told otherwise. */
function modelOf(description: NetworkDescription, options: Omit<ModelOptions, 'network'> = {}, prefix = ''): Model {
  const name = `described${registered++}`;
  registerNetwork(name, describedNetwork(description));
  return new Model({ network: prefix + name, classes: 3, imageSize: 8, ...options });
}

test('a described ResNet-18 computes exactly what resnet18 computes, static and dynamic, in inference and training', (t) => {
  for (const prefix of ['', 'kw_']) {
    const options = { classes: 10, dropout: 0.2, dropPath: 0.1 };
    const described = new Model({ network: `${prefix}described_resnet18`, ...options });
    const built = new Model({ network: `${prefix}resnet18`, ...options });
    t.deepEqual([...described.parameters.entries], [...built.parameters.entries]);
    t.deepEqual([...described.states.entries], [...built.states.entries]);
    t.deepEqual(work(inferencePlan(described, 2, 32)), work(inferencePlan(built, 2, 32)));
    const training = {
      batch: 2,
      imageSize: 32,
      optimizer: { kind: 'sgd', momentum: 0.9, nesterov: false },
      labelSmoothing: 0.1,
    } as const;
    t.deepEqual(work(trainingPlan(described, training)), work(trainingPlan(built, training)));
  }
});

test('stage marks give the feature maps', (t) => {
  const model = new Model({ network: 'kw_described_resnet18' });
  const graph = new Graph();
  const maps = model.forwardStages(graph, graph.input('images', [1, 64, 64, 3]), false, [0, 1, 2, 3]);
  t.deepEqual(
    maps.map(({ shape }) => shape),
    [
      [1, 16, 16, 64],
      [1, 8, 8, 128],
      [1, 4, 4, 256],
      [1, 2, 2, 512],
    ],
  );
});

test('every kind of layer is built with its attributes and under its name', (t) => {
  const model = modelOf({
    layers: [
      { kind: 'conv2d', name: 'stem', outChannels: 8, kernel: 3, stride: 2, padding: 2, dilation: 2, bias: true },
      { kind: 'layer_norm', name: 'norm', epsilon: 1e-6 },
      { kind: 'gelu', name: 'act' },
      { kind: 'conv2d', name: 'depthwise', outChannels: 8, kernel: 3, padding: 1, groups: 8 },
      { kind: 'batch_norm', name: 'bn', epsilon: 1e-3 },
      { kind: 'relu6' },
      { kind: 'residual', name: 'block', layers: [{ kind: 'linear', name: 'perceptron', outFeatures: 8, bias: false }] },
      { kind: 'max_pool2d', kernel: 2 },
      { kind: 'conv2d', name: 'head', outChannels: 'classes' },
      { kind: 'global_avg_pool' },
    ],
  });
  t.deepEqual([...model.parameters.entries].map(({ declaration }) => [declaration.name, declaration.shape]).sort(), [
    ['bn.bias', [8]],
    ['bn.weight', [8]],
    ['depthwise.weight', [8, 1, 3, 3]],
    ['head.weight', [3, 8, 1, 1]],
    ['norm.bias', [8]],
    ['norm.weight', [8]],
    ['perceptron.weight', [8, 8]],
    ['stem.bias', [8]],
    ['stem.weight', [8, 3, 3, 3]],
  ]);
  const graph = new Graph();
  const logits = model.forward(graph, graph.input('images', [2, 8, 8, 3]), false);
  t.deepEqual(logits.shape, [2, 3]);
  const nodes = graph.nodes.filter(({ op }) => op.name !== 'input');
  const find = (op: string) => nodes.find((node) => node.op.name === op);
  t.like(find('conv2d'), { label: 'stem', attributes: { stride: [2, 2], padding: [2, 2], dilation: [2, 2], groups: 1 } });
  t.like(find('layer_norm'), { label: 'norm', attributes: { epsilon: 1e-6 } });
  t.is(find('gelu')?.label, 'act');
  t.like(find('batch_norm_inference'), { label: 'bn', attributes: { epsilon: 1e-3 } });
  t.is(find('relu6')?.label, 'layers.5');
  t.is(find('add')?.label, 'block');
  t.like(find('max_pool2d'), { label: 'layers.7', attributes: { kernel: [2, 2], stride: [2, 2], padding: [0, 0] } });
});

test('a description survives JSON, and its warehouse options are those of the KernelWarehouse variant', (t) => {
  const description: NetworkDescription = { ...replaceConvolutions(resnet18), warehouse: { budget: 4, sharingRange: ['layer', 'conv'] } };
  t.deepEqual(parseDescription(JSON.parse(JSON.stringify(description))), description);
  const ofDescription = modelOf(description, {}, 'kw_').allocation;
  t.deepEqual(ofDescription, new Model({ network: 'kw_resnet18', warehouse: { budget: 4 } }).allocation);
});

test('what does not fit is named with its layer, what was expected and what came', (t) => {
  const refused = (layers: unknown, message: string, more: object = {}) =>
    t.throws(() => parseDescription({ layers, ...more }, 'net.json'), { code: 'ERR_KW_CONFIG', message: `net.json: ${message}` });
  const relu = { kind: 'relu' };
  const known = 'conv2d, linear, batch_norm, layer_norm, relu, relu6, gelu, max_pool2d, global_avg_pool, dropout, residual';
  refused([], 'layers: expected at least one layer, got []');
  refused(undefined, 'layers: expected array, got nothing');
  refused([relu, { kind: 'conv3d' }], `layers.1: kind: expected an object whose kind is one of ${known}, stage, got "conv3d"`);
  refused([7], `layers.0: expected an object whose kind is one of ${known}, stage, got 7`);
  refused(
    [{ kind: 'conv2d', name: 'stem', outChannels: 0, kernel: 1.5, stride: '2', padding: -1 }],
    "layer 'stem' (layers.0): outChannels: expected a positive whole number, got 0; layer 'stem' (layers.0): kernel: expected a positive whole number, got 1.5; " +
      "layer 'stem' (layers.0): stride: expected a positive whole number, got \"2\"; layer 'stem' (layers.0): padding: expected a whole number, at least 0, got -1",
  );
  refused(
    [{ kind: 'linear', name: 'fc', outFeatures: 'class' }],
    "layer 'fc' (layers.0): outFeatures: expected a positive whole number or 'classes', got \"class\"",
  );
  refused([{ kind: 'conv2d', outChannels: 8 }], 'layers.0: name: expected string, got nothing');
  refused(
    [{ kind: 'batch_norm', name: 'a b' }],
    'layer \'a b\' (layers.0): name: expected a name of letters, digits, _, - and ., got "a b"',
  );
  refused(
    [{ kind: 'residual', name: 'block', layers: [relu, { kind: 'linear', name: 'fc', outFeature: 8, outFeatures: 8 }] }],
    "layer 'fc' (layers.0.layers.1): unknown field outFeature, did you mean outFeatures?",
  );
  refused(
    [{ kind: 'residual', layers: [{ kind: 'stage' }] }],
    `layers.0.layers.0: kind: expected an object whose kind is one of ${known}, got "stage"`,
  );
  refused([{ kind: 'residual', layers: [] }], 'layers.0: layers: expected at least one layer, got []');
  refused([relu], 'warehouse.budget: expected a positive number, or a list of them, got "1"', { warehouse: { budget: '1' } });
  refused([relu], 'warehouse: unknown field budgets, did you mean budget?', { warehouse: { budgets: 1 } });
  refused([relu], 'unknown field warehouses, did you mean warehouse?', { warehouses: {} });
  const norm = { kind: 'batch_norm', name: 'bn' };
  refused([norm, { kind: 'residual', layers: [norm] }], "layer 'bn': two layers have this name; stored tensors need names of their own");
  t.throws(() => describedNetwork({ layers: [] }), { code: 'ERR_KW_CONFIG' });
});

test('residuals may stand in each other, but not without end', (t) => {
  const nested = (depth: number): unknown => {
    let layer: unknown = { kind: 'relu' };
    for (let level = 0; level < depth; level++) layer = { kind: 'residual', layers: [layer] };
    return { layers: [layer] };
  };
  t.notThrows(() => parseDescription(nested(50)));
  const refused = { code: 'ERR_KW_CONFIG', message: /^network description: expected at most 50 residuals inside each other/ } as const;
  for (const depth of [51, 20_000]) t.throws(() => parseDescription(nested(depth)), refused);
  const endless: { kind: string; layers: unknown[]; shortcut: unknown[] } = { kind: 'residual', layers: [], shortcut: [] };
  endless.layers.push(endless, endless);
  endless.shortcut.push(endless);
  t.throws(() => parseDescription({ layers: [endless] }), refused);
});

test('layers that do not fit each other are named when the model is made', (t) => {
  const head = [{ kind: 'global_avg_pool' }, { kind: 'linear', name: 'fc', outFeatures: 'classes' }] as const;
  const refused = (layers: NetworkDescription['layers'], message: RegExp, prefix = '') =>
    t.throws(() => modelOf({ layers }, {}, prefix), { message });
  refused(
    [{ kind: 'residual', name: 'block', layers: [{ kind: 'conv2d', name: 'a', outChannels: 8 }] }, ...head],
    /^block: the layers give \[1, 8, 8, 8\], but the shortcut is the input of \[1, 8, 8, 3\]; give the residual a shortcut with the same /,
  );
  refused(
    [
      {
        kind: 'residual',
        layers: [{ kind: 'conv2d', name: 'a', outChannels: 8 }],
        shortcut: [{ kind: 'conv2d', name: 'b', outChannels: 4 }],
      },
    ],
    /^layers\.0: the layers give \[1, 8, 8, 8\], but the shortcut gives \[1, 8, 8, 4\]/,
  );
  refused(
    [{ kind: 'conv2d', name: 'a', outChannels: 8, kernel: 11 }, ...head],
    /^a: \[conv2d\] a kernel of 11x11 .* does not fit an input of 8x8/,
  );
  refused(
    [...head, { kind: 'stage' }],
    /^layers\.2: a stage mark stands where the activations are a map \[N, H, W, C\], but here they are \[1, 3\]/,
  );
  refused(
    [{ kind: 'conv2d', name: 'a', outChannels: 'classes' }],
    /expected logits of shape \[N, classes\] = \[1, 3\], but its build function returned \[1, 8, 8, 3\]$/,
  );
  refused(
    [...head],
    /^'kw_described\d+' has no layer that can be dynamic; make convolutions with the factory .*replaceConvolutions/,
    'kw_',
  );
});
