/** DY-Conv, ODConv and CondConv where the golden cases do not reach: odd sizes, groups, other numbers of kernels, one sample; and their kinship. */
import test from 'ava';
import { gradients } from '../../lib/graph/autodiff.js';
import { physicalShape } from '../../lib/graph/declaration.js';
import { Graph } from '../../lib/graph/graph.js';
import { output } from '../../lib/graph/ops/copy.js';
import { fuseInference } from '../../lib/graph/passes/fuse_inference.js';
import { fuseTraining } from '../../lib/graph/passes/fuse_training.js';
import { condconvConvolution } from '../../lib/layers/condconv.js';
import { dyconvConvolution } from '../../lib/layers/dyconv.js';
import { kernelWarehouseConvolution } from '../../lib/layers/kernel_warehouse.js';
import { type ConvolutionFactory, type ConvolutionSpecOptions, convolutionSpec, layerShape, newContext } from '../../lib/layers/layer.js';
import { odconvConvolution } from '../../lib/layers/odconv.js';
import { allocate } from '../../lib/warehouse/index.js';
import { devicesPresent } from '../devices.js';
import { fillFrom } from '../golden/fill.js';
import { nativeMachine } from '../golden/native_session.js';
import { type Machine, readActivation, referenceMachine, writeActivation, writeLogical } from '../golden/session.js';
import { elementCount, type Tensor } from '../reference/tensor.js';
import { naiveCondconv, naiveDyconv, naiveOdconv, type Stored, type Temperatures } from './naive_dynamic_convolutions.js';

interface Sample {
  readonly layer: Partial<ConvolutionSpecOptions>;
  readonly sizes: readonly number[];
  readonly samples: number;
  readonly kernels: number;
}

const samples: readonly Sample[] = [
  { layer: { kernel: 3, padding: 1, stride: 2 }, sizes: [7, 5], samples: 3, kernels: 4 },
  { layer: { kernel: 3, padding: 2, dilation: 2, groups: 2 }, sizes: [5, 6], samples: 1, kernels: 3 },
  { layer: { kernel: [1, 3], padding: [0, 1] }, sizes: [1, 1], samples: 2, kernels: 2 },
  { layer: { kernel: 5, padding: 2, groups: 8, inChannels: 8, outChannels: 8 }, sizes: [3, 9], samples: 2, kernels: 4 },
  { layer: { kernel: 1, stride: 2 }, sizes: [5, 5], samples: 1, kernels: 1 },
  { layer: { kernel: 2 }, sizes: [3, 3], samples: 2, kernels: 1 },
  { layer: { kind: 'conv1d', kernel: 3, padding: 1 }, sizes: [7], samples: 2, kernels: 5 },
  { layer: { kind: 'conv3d', kernel: [1, 2, 3], padding: [0, 1, 1], groups: 2 }, sizes: [2, 3, 4], samples: 2, kernels: 2 },
];

const temperatures: Temperatures = { temperature: 0.4, softmaxTemperature: 4.5 };

const draw = (shape: readonly number[], name: string): Tensor => {
  const positive = /running_var$|bn\.weight$/.test(name);
  return { shape, data: Float64Array.from(fillFrom(name, positive ? 0.5 : -1, positive ? 1.5 : 1, elementCount(shape))) };
};

/** What the layer gives on a machine, in PyTorch's order, and its stored tensors. */
async function resultOf(machine: Machine, factory: ConvolutionFactory, { layer, sizes, samples: count }: Sample) {
  const spec = convolutionSpec({ name: 'layer', inChannels: 8, outChannels: 6, ...layer });
  const graph = new Graph();
  const input = { shape: [count, spec.inChannels, ...sizes], channelAxis: 1 };
  const y = factory(newContext(graph, false), graph.input('x', physicalShape(input)), spec);
  output('y', y);
  const fused = fuseInference(graph);
  const session = await machine.prepare(fused, 'layer');
  const x = draw(input.shape, 'x');
  await writeActivation(session, 'x', input, x.data);
  const tensors = new Map<string, Tensor>();
  for (const [kind, declarations] of [
    ['parameter', graph.parameters],
    ['state', graph.states],
  ] as const) {
    for (const declaration of declarations.values()) {
      const tensor = draw(declaration.shape, declaration.name);
      tensors.set(declaration.name, tensor);
      await writeLogical(session, kind, declaration, tensor.data);
    }
  }
  for (const [name, value] of Object.entries(temperatures)) await session.write('control', name, [value]);
  await session.run();
  const shape = [count, spec.outChannels, ...y.shape.slice(1, -1)];
  const actual = await readActivation(session, 'y', { shape, channelAxis: 1 });
  session.close();
  const stored: Stored = (suffix) => tensors.get(`layer.${suffix}`) ?? { shape: [0], data: new Float64Array() };
  return { spec, x, actual, stored };
}

function worst(expected: ArrayLike<number>, actual: ArrayLike<number>): number {
  return Array.from(expected).reduce(
    (most, value, i) => Math.max(most, Math.abs(value - actual[i]!)),
    expected.length === actual.length ? 0 : Infinity,
  );
}

for (const machine of [referenceMachine, ...devicesPresent().map(nativeMachine)]) {
  for (const [index, sample] of samples.entries()) {
    const title = `${sample.layer.kind ?? 'conv2d'} ${index} of ${sample.kernels} kernels on ${machine.name}`;
    const { kernels } = sample;
    for (const attention of ['softmax', 'contrasting'] as const) {
      test(`DY-Conv, ${attention}: ${title}`, async (t) => {
        const factory = dyconvConvolution({ kernels, attention, reduction: 1 / 4 });
        const { spec, x, actual, stored } = await resultOf(machine, factory, {
          ...sample,
          layer: { ...sample.layer, bias: index % 2 === 1 },
        });
        const difference = worst(naiveDyconv(x, spec, stored, attention, temperatures).data, actual);
        t.true(difference < 1e-5, `off by ${difference}`);
      });
      test(`ODConv, ${attention}: ${title}`, async (t) => {
        const { spec, x, actual, stored } = await resultOf(machine, odconvConvolution({ kernels, attention, reduction: 1 / 16 }), sample);
        const difference = worst(naiveOdconv(x, spec, stored, { kernels, attention }, temperatures).data, actual);
        t.true(difference < 1e-5, `off by ${difference}`);
      });
    }
    test(`CondConv: ${title}`, async (t) => {
      const { spec, x, actual, stored } = await resultOf(machine, condconvConvolution({ kernels }), sample);
      const difference = worst(naiveCondconv(x, spec, stored).data, actual);
      t.true(difference < 1e-5, `off by ${difference}`);
    });
  }
}

test('a warehouse of one layer with a single mixture is a DY-Conv', async (t) => {
  const kernels = 4;
  const layer = { kernel: 3, padding: 1, inChannels: 64, outChannels: 4 } as const;
  const sample = { layer, sizes: [4, 3], samples: 2, kernels };
  for (const attention of ['contrasting', 'softmax'] as const) {
    const dynamic = await resultOf(referenceMachine, dyconvConvolution({ kernels, attention, reduction: 1 / 4 }), sample);
    const spec = convolutionSpec({ name: 'layer', ...layer });
    const allocation = allocate([layerShape(spec, 'stage0')], { budget: kernels, spatialPartition: false, attentionFunction: attention });
    t.deepEqual(allocation.warehouses[0]?.m, 1);
    t.deepEqual(allocation.warehouses[0]?.cell, [4, 64, 3, 3]);
    const graph = new Graph();
    output('y', kernelWarehouseConvolution(allocation)(newContext(graph, false), graph.input('x', [2, 4, 3, 64]), spec));
    const session = await referenceMachine.prepare(graph, 'layer');
    const { stored } = dynamic;
    // The norm adds DY-Conv's bias and does nothing else; the zero cell's logit is 0, or so small that softmax makes it 0.
    const appended = (values: Float64Array, last: readonly number[]) => Float64Array.from([...values, ...last]);
    const values: Readonly<Record<string, ArrayLike<number>>> = {
      'warehouse_manager.weights.0': stored('weight').data,
      'layer.attention.fc1.weight': stored('attention.fc1.weight').data,
      'layer.attention.norm1.weight': new Float64Array(16).fill(1),
      'layer.attention.norm1.bias': stored('attention.fc1.bias').data,
      'layer.attention.norm1.running_mean': new Float64Array(16),
      'layer.attention.norm1.running_var': new Float64Array(16).fill(1 - 1e-5),
      'layer.attention.fc2.weight': appended(stored('attention.fc2.weight').data, new Array<number>(16).fill(0)),
      'layer.attention.fc2.bias': appended(stored('attention.fc2.bias').data, [attention === 'softmax' ? -1e4 : 0]),
    };
    for (const [kind, declarations] of [
      ['parameter', graph.parameters],
      ['state', graph.states],
    ] as const) {
      for (const declaration of declarations.values()) await writeLogical(session, kind, declaration, values[declaration.name]!);
    }
    await writeActivation(session, 'x', { shape: dynamic.x.shape, channelAxis: 1 }, dynamic.x.data);
    // KernelWarehouse's softmax is bound to the first cell by τ, DY-Conv's to none and over T; they meet at τ = 0 and T = 1.
    const at = attention === 'softmax' ? { temperature: 0, softmaxTemperature: 1 } : temperatures;
    await session.write('control', 'temperature', [at.temperature]);
    await session.run();
    const actual = await readActivation(session, 'y', { shape: [2, 4, 4, 3], channelAxis: 1 });
    const difference = worst(naiveDyconv(dynamic.x, dynamic.spec, stored, attention, at).data, actual);
    t.true(difference < 1e-12, `${attention}: off by ${difference}`);
    if (attention === 'contrasting') t.true(worst(dynamic.actual, actual) < 1e-12);
  }
});

const factories: Readonly<Record<string, ConvolutionFactory>> = {
  dyconv: dyconvConvolution({ kernels: 4, attention: 'softmax', reduction: 1 / 4 }),
  odconv: odconvConvolution({ kernels: 4, attention: 'softmax', reduction: 1 / 16 }),
  condconv: condconvConvolution({ kernels: 8 }),
};

/** The names of the ops that a layer's graph is made of. */
function opsOf(factory: ConvolutionFactory, training: boolean): string[] {
  const graph = new Graph();
  const spec = convolutionSpec({ name: 'layer', inChannels: 8, outChannels: 6, kernel: 3, padding: 1 });
  const x = graph.input('x', [2, 5, 5, 8]);
  const y = factory(newContext(graph, training), x, spec);
  output('y', y);
  if (training) {
    const parameters = [...graph.parameters.values()].map(({ name, shape, ...options }) => graph.parameter(name, shape, options));
    gradients([{ value: y, gradient: graph.input('g', y.shape) }], [x, ...parameters]).forEach(
      (gradient, i) => gradient && output(`d${i}`, gradient),
    );
  }
  return (training ? fuseTraining(graph) : fuseInference(graph)).nodes.map(({ op }) => op.name);
}

test('no layer keeps the weights of its samples', (t) => {
  for (const [name, factory] of Object.entries(factories)) {
    for (const training of [false, true]) {
      const ops = opsOf(factory, training);
      t.false(
        ops.some((op) => /^(mix_cells|samplewise)/.test(op)),
        `${name}: ${ops.join(' ')}`,
      );
      t.true(
        ops.some((op) => /mixed_conv2d$/.test(op)),
        name,
      );
    }
  }
});

test("DY-Conv's attention is one step of an inference graph", (t) => {
  const steps = opsOf(factories.dyconv as ConvolutionFactory, false).filter((op) => !['leaf', 'reshape', 'copy'].includes(op));
  t.deepEqual(steps, ['global_avg_pool', 'attention_module', 'mixed_conv2d']);
});

test('CondConv routes a block once, by its input', (t) => {
  const factory = condconvConvolution({ kernels: 8 });
  const graph = new Graph();
  const context = newContext(graph, false);
  const x = graph.input('x', [2, 4, 4, 8]);
  const block = { name: 'layer1.0', input: x };
  const spec = (name: string, outChannels: number) => convolutionSpec({ name, inChannels: 8, outChannels, kernel: 3, padding: 1, block });
  factory(context, factory(context, x, spec('layer1.0.conv1', 8)), spec('layer1.0.conv2', 4));
  t.deepEqual(
    [...graph.parameters.values()].map(({ name, shape }) => `${name} [${shape}]`),
    [
      'layer1.0.route.fc.weight [8,8]',
      'layer1.0.route.fc.bias [8]',
      'layer1.0.conv1.weight [8,8,8,3,3]',
      'layer1.0.conv2.weight [8,4,8,3,3]',
    ],
  );
  t.is(graph.nodes.filter(({ op }) => op.name === 'global_avg_pool').length, 1);
});
