/** Specifications of layers, and the static layers of every kind in PyTorch's order against the definition of a convolution. */
import test from 'ava';
import { physicalShape } from '../../lib/graph/declaration.js';
import { Graph } from '../../lib/graph/graph.js';
import { output } from '../../lib/graph/ops/copy.js';
import { staticConvolution } from '../../lib/layers/convolution.js';
import { type ConvolutionSpecOptions, convolutionSpec, layerShape, newContext } from '../../lib/layers/layer.js';
import { devicesPresent } from '../devices.js';
import { fillFrom } from '../golden/fill.js';
import { nativeMachine } from '../golden/native_session.js';
import { readActivation, referenceMachine, writeActivation, writeLogical } from '../golden/session.js';
import { elementCount, type Tensor } from '../reference/tensor.js';
import { naiveConvolution } from './naive_convolution.js';

const channels = { name: 'layer', inChannels: 4, outChannels: 6 };

test('a number stands for every spatial dimension, and what is left out has the default of PyTorch', (t) => {
  t.deepEqual(convolutionSpec(channels), {
    ...channels,
    kind: 'conv2d',
    kernel: [1, 1],
    stride: [1, 1],
    padding: [0, 0],
    dilation: [1, 1],
    groups: 1,
    bias: false,
  });
  t.like(convolutionSpec({ ...channels, kind: 'conv1d', kernel: 5, stride: [2], padding: 2 }), { kernel: [5], stride: [2], padding: [2] });
  t.like(convolutionSpec({ ...channels, kind: 'conv3d', kernel: [1, 2, 3], dilation: 2 }), { kernel: [1, 2, 3], dilation: [2, 2, 2] });
  t.like(convolutionSpec({ ...channels, kind: 'linear' }), { kernel: [1], stride: [1], padding: [0], dilation: [1] });
});

test('sizes that no layer can have are refused by name', (t) => {
  const refused: readonly [Partial<ConvolutionSpecOptions>, RegExp][] = [
    [{ kind: 'conv4d' as 'conv3d' }, /expected kind to be conv1d, conv2d, conv3d, linear but received conv4d/],
    [{ kernel: [3] }, /layer layer: expected kernel to be a whole number of at least 1, or 2 for conv2d, but received \[3\]/],
    [{ kind: 'conv3d', stride: [1, 1] }, /expected stride to be .*, or 3 for conv3d, but received \[1, 1\]/],
    [{ kernel: 0 }, /expected kernel .* but received 0/],
    [{ stride: [1, 0] }, /expected stride .* but received \[1, 0\]/],
    [{ padding: -1 }, /expected padding to be a whole number of at least 0/],
    [{ dilation: 1.5 }, /expected dilation .* but received 1.5/],
    [{ kind: 'linear', kernel: 3 }, /expected kernel to be left out, because a linear layer has none, but received 3/],
    [{ kind: 'linear', padding: 1 }, /expected padding to be left out/],
  ];
  for (const [options, message] of refused)
    t.throws(() => convolutionSpec({ ...channels, ...options }), { code: 'ERR_KW_INVALID_ARGUMENT', message });
});

test('a warehouse sees the whole kernel, and none of a linear layer', (t) => {
  const shape = { ...channels, groups: 2, bias: true };
  const spec = convolutionSpec({ ...shape, kind: 'conv3d', kernel: [1, 2, 3], stride: 2 });
  t.deepEqual(layerShape(spec, 'stage0'), { ...shape, kind: 'conv3d', kernel: [1, 2, 3], sharingName: 'stage0' });
  const linear = { ...channels, kind: 'linear', groups: 1, bias: false } as const;
  t.deepEqual(layerShape(convolutionSpec(linear), 'stage0'), { ...linear, sharingName: 'stage0' });
});

const layers: readonly { readonly options: Partial<ConvolutionSpecOptions>; readonly sizes: readonly number[] }[] = [
  { options: { kind: 'conv1d', kernel: 3, stride: 2, padding: 1, dilation: 2 }, sizes: [9] },
  { options: { kind: 'conv1d', kernel: 4, groups: 2, bias: true }, sizes: [5] },
  { options: { kernel: [1, 3], padding: [0, 2], stride: [2, 1], bias: true }, sizes: [3, 4] },
  { options: { kernel: [3, 2], dilation: [1, 2], groups: 2 }, sizes: [4, 5] },
  { options: { kind: 'conv3d', kernel: [2, 1, 3], padding: [1, 0, 1], stride: [1, 2, 1], bias: true }, sizes: [2, 3, 4] },
  { options: { kind: 'conv3d', kernel: [1, 3, 2], dilation: [1, 1, 2], groups: 2 }, sizes: [2, 4, 3] },
];

for (const machine of [referenceMachine, ...devicesPresent().map(nativeMachine)]) {
  for (const { options, sizes } of layers) {
    const spec = convolutionSpec({ ...channels, ...options });
    test(`${spec.kind} ${spec.kernel.join('x')}, groups ${spec.groups} on ${machine.name}`, async (t) => {
      const graph = new Graph();
      const input = { shape: [2, spec.inChannels, ...sizes], channelAxis: 1 };
      const y = staticConvolution(newContext(graph, false), graph.input('x', physicalShape(input)), spec);
      output('y', y);
      const weightShape = [spec.outChannels, spec.inChannels / spec.groups, ...spec.kernel];
      t.deepEqual(
        [...graph.parameters.values()].map(({ name, shape }) => [name, shape]),
        [['layer.weight', weightShape], ...(spec.bias ? [['layer.bias', [spec.outChannels]]] : [])],
      );

      const draw = (shape: readonly number[], name: string): Tensor => ({
        shape,
        data: Float64Array.from(fillFrom(name, -1, 1, elementCount(shape))),
      });
      const [x, weight, bias] = [draw(input.shape, 'x'), draw(weightShape, 'weight'), draw([spec.outChannels], 'bias')];
      const expected = naiveConvolution(x, weight, spec.bias ? bias.data : new Float64Array(spec.outChannels), spec);
      const session = await machine.prepare(graph, 'layer');
      await writeActivation(session, 'x', input, x.data);
      await writeLogical(session, 'parameter', graph.parameters.get('layer.weight')!, weight.data);
      if (spec.bias) await writeLogical(session, 'parameter', graph.parameters.get('layer.bias')!, bias.data);
      await session.run();
      const actual = await readActivation(session, 'y', { shape: expected.shape, channelAxis: 1 });
      session.close();

      t.deepEqual(y.shape, physicalShape({ shape: expected.shape, channelAxis: 1 }));
      const worst = expected.data.reduce((most, value, i) => Math.max(most, Math.abs(value - actual[i]!)), 0);
      t.true(worst < 1e-5, `off by ${worst}`);
    });
  }
}

test('a conv1d takes sequences only', (t) => {
  const graph = new Graph();
  const spec = convolutionSpec({ ...channels, kind: 'conv1d' });
  t.throws(() => staticConvolution(newContext(graph, false), graph.input('x', [2, 3, 3, 4]), spec), {
    code: 'ERR_KW_SHAPE',
    message: /\[layer\] expected x of shape \[N, L, C\] but received \[2, 3, 3, 4\]/,
  });
});
