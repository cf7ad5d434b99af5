/** CGC, WeightNet and DCD beyond what golden cases show: WeightNet by its definition, and the layers that they refuse. */
import test from 'ava';
import { Graph } from '../../lib/graph/graph.js';
import { cgcConvolution } from '../../lib/layers/cgc.js';
import { dcdClassifier, dcdConvolution } from '../../lib/layers/dcd.js';
import { type ConvolutionFactory, type ConvolutionSpecOptions, convolutionSpec, newContext } from '../../lib/layers/layer.js';
import { weightNetConvolution } from '../../lib/layers/weightnet.js';
import { fillFrom } from '../golden/fill.js';
import { interpret, LeafMemory } from '../reference/graph_interpreter.js';
import { elementCount, type Tensor, tensorOf } from '../reference/tensor.js';
import { naiveConvolution } from './naive_convolution.js';

interface Case {
  readonly inChannels: number;
  readonly outChannels: number;
  readonly kernel: number;
  readonly groups?: number;
}

const floor = 2;
const [samples, size] = [2, 5];

const cases: readonly Case[] = [
  { inChannels: 4, outChannels: 6, kernel: 3 },
  { inChannels: 3, outChannels: 4, kernel: 2 }, // whose halves meet within a channel
  { inChannels: 4, outChannels: 4, kernel: 3, groups: 4 },
];

for (const { inChannels, outChannels, kernel, groups = 1 } of cases) {
  test(`WeightNet's kernels, ${inChannels} to ${outChannels} channels, ${kernel}x${kernel}, groups ${groups}, are the static one times gates`, (t) => {
    const graph = new Graph();
    const spec = convolutionSpec({ name: 'layer', inChannels, outChannels, kernel, groups });
    const y = weightNetConvolution({ floor })(newContext(graph, true), graph.input('x', [samples, size, size, inChannels]), spec);
    const memory = new LeafMemory();
    const x = memory.at({ kind: 'input', name: 'x', shape: [samples, size, size, inChannels] });
    x.set(fillFrom('x', -1, 1, x.length));
    // All of the layer's tensors have one order in memory and in PyTorch.
    const parameter = (name: string): Float64Array => {
      const { shape } = graph.parameters.get(`layer.${name}`)!;
      return memory.at({ kind: 'parameter', name: `layer.${name}`, shape });
    };
    for (const { name, shape } of graph.parameters.values())
      parameter(name.slice('layer.'.length)).set(fillFrom(name, -1, 1, elementCount(shape)));
    const [actual] = interpret(graph, memory, { wanted: [y] });

    const matrix = (name: string, from: readonly number[]): number[] =>
      Array.from(parameter(`${name}.bias`), (bias, row) =>
        from.reduce((sum, value, column) => sum + value * parameter(`${name}.weight`)[row * from.length + column]!, bias),
      );
    const perKernel = (inChannels / groups) * kernel ** 2;
    for (let n = 0; n < samples; n++) {
      const image = Array.from({ length: inChannels }, (_, c) =>
        Array.from({ length: size ** 2 }, (_, position) => x[(n * size ** 2 + position) * inChannels + c]!),
      );
      const means = image.map((values) => values.reduce((a, b) => a + b, 0) / size ** 2);
      const gates = matrix('wn_fc1', matrix('reduce', means)).map((value) => 1 / (1 + Math.exp(-value)));
      const gateOf = (out: number, element: number) => (groups > 1 ? gates[out]! : gates[2 * out + (element < perKernel / 2 ? 0 : 1)]!);
      const weight = parameter('wn_fc2.weight').map((value, i) => value * gateOf(Math.floor(i / perKernel), i % perKernel));
      const expected = naiveConvolution(
        tensorOf([1, inChannels, size, size], image.flat()),
        tensorOf([outChannels, inChannels / groups, kernel, kernel], weight),
        new Float64Array(outChannels),
        { ...spec },
      );
      const positions = expected.data.length / outChannels;
      expected.data.forEach((value, i) => {
        const [out, position] = [Math.floor(i / positions), i % positions];
        t.true(Math.abs(value - actual!.data[(n * positions + position) * outChannels + out]!) < 1e-12);
      });
    }
  });
}

const weightNet = weightNetConvolution({ floor });
const ordinary = { name: 'layer', inChannels: 32, outChannels: 16, kernel: 3, padding: 1 };
const refused: readonly [string, ConvolutionFactory, Partial<ConvolutionSpecOptions>, RegExp][] = [
  [
    'CGC',
    cgcConvolution,
    { groups: 2 },
    /layer layer: CGC expects a conv2d of one group but received a conv2d of 32 to 16 channels in 2 groups/,
  ],
  ['CGC', cgcConvolution, { inChannels: 24 }, /fewer than 16 or a multiple of it, .* but received 24 to 16/],
  ['CGC', cgcConvolution, { outChannels: 17 }, /output channels that divide among their runs, but received 32 to 17/],
  ['WeightNet', weightNet, { groups: 4 }, /of one group or depth-wise but received .* in 4 groups/],
  ['WeightNet', weightNet, { inChannels: 5 }, /an even number of elements, but received 5 input channels times 9 positions/],
  ['DCD', dcdConvolution, { groups: 16 }, /DCD expects a conv2d of one group but received .* in 16 groups/],
  [
    'DCD',
    dcdConvolution,
    { padding: 0 },
    /DCD expects padding that keeps the image's size.* a kernel of 3x3 with padding 0x0 and dilation 1x1/,
  ],
];

for (const [method, convolution, options, message] of refused) {
  test(`${method} refuses ${JSON.stringify(options)}`, (t) => {
    const graph = new Graph();
    const spec = convolutionSpec({ ...ordinary, ...options });
    const x = graph.input('x', [2, 6, 6, spec.inChannels]);
    t.throws(() => convolution(newContext(graph, true), x, spec), { code: 'ERR_KW_UNSUPPORTED', message });
  });
}

test('a layer of another kind is refused, and so is a classifier of tokens', (t) => {
  const graph = new Graph();
  const linear = convolutionSpec({ name: 'fc', kind: 'linear', inChannels: 32, outChannels: 10, bias: true });
  const context = newContext(graph, true);
  t.throws(() => cgcConvolution(context, graph.input('x', [2, 32]), linear), {
    message: /CGC expects a conv2d .* received a linear/,
  });
  t.throws(() => dcdClassifier(context, graph.input('tokens', [2, 7, 32]), linear), {
    code: 'ERR_KW_SHAPE',
    message: /expected x of shape \[N, C\] but received \[2, 7, 32\]/,
  });
});

for (const [method, convolution] of [
  ['CGC', cgcConvolution],
  ['WeightNet', weightNet],
  ['DCD', dcdConvolution],
] as const) {
  test(`${method} adds the bias of a layer that has one`, (t) => {
    const run = (bias: boolean): Float64Array => {
      const graph = new Graph();
      const spec = convolutionSpec({ ...ordinary, bias });
      const y = convolution(newContext(graph, true), graph.input('x', [2, 6, 6, spec.inChannels]), spec);
      const memory = new LeafMemory();
      const x = { kind: 'input', name: 'x', shape: [2, 6, 6, spec.inChannels] } as const;
      memory.at(x).set(fillFrom('x', -1, 1, elementCount(x.shape)));
      for (const { name, shape } of graph.parameters.values())
        memory.at({ kind: 'parameter', name, shape }).set(fillFrom(name, -1, 1, elementCount(shape)));
      const [{ data }] = interpret(graph, memory, { wanted: [y] }) as [Tensor];
      return data;
    };
    const bias = fillFrom('layer.bias', -1, 1, ordinary.outChannels);
    const [without, biased] = [run(false), run(true)];
    t.true(biased.every((value, i) => Math.abs(value - without[i]! - bias[i % bias.length]!) < 1e-12));
  });
}
