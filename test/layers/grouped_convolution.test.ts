/** The grouped form of weights of single samples gives the numbers of the sample-wise one, gradients included. */
import test from 'ava';
import { gradients } from '../../lib/graph/autodiff.js';
import { Graph } from '../../lib/graph/graph.js';
import { output } from '../../lib/graph/ops/copy.js';
import { fuseInference } from '../../lib/graph/passes/fuse_inference.js';
import { convolve } from '../../lib/layers/convolution.js';
import { type ConvolutionSpecOptions, convolutionSpec, type Implementation } from '../../lib/layers/layer.js';
import { Model } from '../../lib/models/model.js';
import { devicesPresent } from '../devices.js';
import { fillFrom } from '../golden/fill.js';
import { nativeMachine } from '../golden/native_session.js';
import { type Machine, referenceMachine } from '../golden/session.js';
import { elementCount } from '../reference/tensor.js';

interface Sample {
  readonly layer: Partial<ConvolutionSpecOptions>;
  readonly samples: number;
  readonly sizes: readonly number[];
}

const samples: readonly Sample[] = [
  { layer: { kernel: 3, padding: 1, stride: 2, bias: true }, samples: 3, sizes: [7, 5] },
  { layer: { kernel: [1, 3], padding: [2, 1], dilation: 2, groups: 2 }, samples: 2, sizes: [4, 5] },
  { layer: { kernel: 3, padding: 1, groups: 6, outChannels: 6 }, samples: 2, sizes: [3, 3] },
  { layer: { kernel: 1 }, samples: 1, sizes: [2, 3] },
  { layer: { kind: 'conv1d', kernel: 3, stride: 2, bias: true }, samples: 2, sizes: [8] },
  { layer: { kind: 'conv3d', kernel: [1, 2, 3], padding: [0, 1, 1], groups: 2 }, samples: 2, sizes: [2, 3, 4] },
  { layer: { kind: 'linear', bias: true }, samples: 3, sizes: [] },
];

/** The layer and its gradients on a machine, by name, and the ops that it is made of. */
async function run(machine: Machine, { layer, samples: count, sizes }: Sample, implementation: Implementation) {
  const spec = { ...convolutionSpec({ name: 'layer', inChannels: 6, outChannels: 4, ...layer }), implementation };
  const graph = new Graph();
  const x = graph.input('x', [count, ...sizes, spec.inChannels]);
  const weight = graph.input('weight', [count, spec.outChannels, ...spec.kernel, spec.inChannels / spec.groups]);
  const bias = spec.bias ? graph.input('bias', [spec.outChannels]) : undefined;
  const y = convolve(x, weight, bias, spec, true);
  const dy = graph.input('dy', y.shape);
  output('y', y);
  const inputs = [x, weight, ...(bias ? [bias] : [])];
  gradients([{ value: y, gradient: dy }], inputs).forEach((gradient, index) => gradient && output(`gradient ${index}`, gradient));
  const session = await machine.prepare(graph, 'layer');
  const fill = (name: string, shape: readonly number[]) => session.write('input', name, fillFrom(name, -1, 1, elementCount(shape)));
  await fill('x', x.shape);
  await fill('weight', weight.shape);
  if (bias) await fill('bias', bias.shape);
  await fill('dy', y.shape);
  await session.run();
  const results = new Map<string, Float64Array>();
  for (const name of ['y', ...inputs.map((_, index) => `gradient ${index}`)]) results.set(name, await session.read('output', name));
  session.close();
  return { results, ops: graph.nodes.map(({ op }) => op.name) };
}

for (const machine of [referenceMachine, ...devicesPresent().map(nativeMachine)]) {
  for (const [index, sample] of samples.entries()) {
    test(`${sample.layer.kind ?? 'conv2d'} ${index} on ${machine.name}`, async (t) => {
      const own = await run(machine, sample, 'samplewise');
      const grouped = await run(machine, sample, 'grouped');
      t.true(own.ops.some((op) => op.startsWith('samplewise_conv')));
      t.false(grouped.ops.some((op) => op.startsWith('samplewise_conv')));
      t.is(own.results.size, grouped.results.size);
      for (const [name, values] of own.results) {
        const others = grouped.results.get(name) as Float64Array;
        t.is(values.length, others.length);
        const scale = Math.max(...values.map(Math.abs));
        const difference = values.reduce((most, value, i) => Math.max(most, Math.abs(value - others[i]!)), 0);
        t.true(scale > 0.1 && difference <= (machine === referenceMachine ? 1e-12 : 1e-5) * scale, `${name} off by ${difference}`);
      }
    });
  }
}

test('a network in the grouped form has the same tensors and no sample-wise convolution', (t) => {
  const ops = (implementation: Implementation) => {
    const model = new Model({ network: 'kw_mobilenetv2_050', implementation });
    const graph = new Graph();
    output('logits', model.forward(graph, graph.input('images', [2, 32, 32, 3]), false));
    return { model, names: fuseInference(graph).nodes.map(({ op }) => op.name) };
  };
  const [own, grouped] = [ops('samplewise'), ops('grouped')];
  t.deepEqual(
    grouped.model.declarations.map(({ name, shape }) => [name, shape]),
    own.model.declarations.map(({ name, shape }) => [name, shape]),
  );
  t.true(own.names.some((name) => /mixed_conv2d/.test(name)));
  t.false(grouped.names.some((name) => /mixed_conv2d|samplewise_conv/.test(name)));
});

test('another implementation is refused', (t) => {
  t.throws(() => new Model({ network: 'kw_resnet18', implementation: 'fast' as 'grouped' }), {
    code: 'ERR_KW_CONFIG',
    message: /expected implementation 'samplewise' or 'grouped' but received 'fast'/,
  });
});
