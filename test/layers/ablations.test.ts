/** KernelWarehouse layers with the paper's ablations: each option's effect on what a layer computes. */
import test, { type ExecutionContext } from 'ava';
import { gradients } from '../../lib/graph/autodiff.js';
import { Graph } from '../../lib/graph/graph.js';
import { assign, output } from '../../lib/graph/ops/copy.js';
import { fuseMixing } from '../../lib/graph/passes/fuse_mixing.js';
import { kernelWarehouseConvolution } from '../../lib/layers/kernel_warehouse.js';
import { type ConvolutionSpec, convolutionSpec, layerShape, newContext } from '../../lib/layers/layer.js';
import { type AllocationOptions, allocate } from '../../lib/warehouse/index.js';
import { devicesPresent } from '../devices.js';
import { fillFrom } from '../golden/fill.js';
import { nativeMachine } from '../golden/native_session.js';
import {
  type Activation,
  type Machine,
  readActivation,
  readLogical,
  referenceMachine,
  writeActivation,
  writeLogical,
} from '../golden/session.js';
import { declarationOf } from '../golden/stored_tensors.js';
import { elementCount } from '../reference/tensor.js';

const image: Activation = { shape: [2, 4, 3, 3], channelAxis: 1 };

/** Two layers that share: 3x3 and 1x1, 4 to 4 channels. */
const specs = [
  convolutionSpec({ name: 'a', inChannels: 4, outChannels: 4, kernel: 3, padding: 1, bias: true, sharingName: 'stage0' }),
  convolutionSpec({ name: 'b', inChannels: 4, outChannels: 4, sharingName: 'stage0' }),
];

interface Result {
  readonly y: readonly Float64Array[];
  readonly gradients: ReadonlyMap<string, Float64Array>;
}

/** Runs layers beside each other, all tensors filled by name unless `given`; gradients are of the sum of all outputs. */
async function run(
  machine: Machine,
  layers: readonly ConvolutionSpec[],
  options: AllocationOptions,
  temperature: number,
  given: (name: string, shape: readonly number[]) => ArrayLike<number> | undefined = () => undefined,
): Promise<Result> {
  const graph = new Graph();
  const convolution = kernelWarehouseConvolution(
    allocate(
      layers.map((spec) => layerShape(spec, 'stage0')),
      options,
    ),
  );
  const x = graph.input('x', [2, 3, 3, 4]);
  const ys = layers.map((spec) => convolution(newContext(graph, false), x, spec));
  const parameters = [...graph.parameters.values()].map(({ name, shape, ...rest }) => ({
    name,
    value: graph.parameter(name, shape, rest),
  }));
  const derived = gradients(
    ys.map((value, i) => ({ value, gradient: graph.input(`g${i}`, value.shape) })),
    parameters.map(({ value }) => value),
  );
  ys.forEach((y, i) => output(`y${i}`, y));
  derived.forEach((gradient, i) => gradient && assign(graph.gradientOf((parameters[i] as (typeof parameters)[number]).value), gradient));

  const fused = fuseMixing(graph);
  const session = await machine.prepare(fused, 'layers');
  for (const name of [...graph.parameters.keys(), ...graph.states.keys()]) {
    const { kind, declaration } = declarationOf(fused, name);
    const positive = name.endsWith('running_var') || name.endsWith('norm1.weight');
    const count = elementCount(declaration.shape);
    const values = given(name, declaration.shape) ?? fillFrom(name, positive ? 0.5 : -1, positive ? 1.5 : 1, count);
    await writeLogical(session, kind, declaration, values);
  }
  await writeActivation(session, 'x', image, fillFrom('x', -1, 1, elementCount(image.shape)));
  for (const i of layers.keys()) await session.write('input', `g${i}`, new Float64Array(elementCount(image.shape)).fill(1));
  await session.write('control', 'temperature', [temperature]);
  await session.run();
  const y = await Promise.all(layers.map((_, i) => readActivation(session, `y${i}`, image)));
  const read = parameters.map(async ({ name }, i) => {
    const value = derived[i] ? await readLogical(session, 'gradient', declarationOf(fused, name).declaration) : new Float64Array();
    return [name, value] as const;
  });
  const result = { y, gradients: new Map(await Promise.all(read)) };
  session.close();
  return result;
}

/** The largest difference is within `tolerance` of the largest expected magnitude. */
function near(t: ExecutionContext, actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance = 1e-4): void {
  t.is(actual.length, expected.length);
  const scale = Math.max(...Array.from(expected, Math.abs), 1e-3);
  const differences = Array.from(expected, (value, i) => Math.abs((actual[i] as number) - value));
  t.true(Math.max(...differences) <= tolerance * scale, `${Math.max(...differences)} of ${scale}`);
}

/** y [2, 4, 3, 3] of one weight [4, 4, k, k] for all samples. */
function naiveConvolution(x: ArrayLike<number>, weight: ArrayLike<number>, kernel: number, bias?: ArrayLike<number>): Float64Array {
  const y = new Float64Array(2 * 4 * 9);
  const margin = (kernel - 1) / 2;
  for (let index = 0; index < y.length; index++) {
    const [sample, o, row, column] = [Math.floor(index / 36), Math.floor(index / 9) % 4, Math.floor(index / 3) % 3, index % 3];
    let sum = bias?.[o] ?? 0;
    for (let c = 0; c < 4; c++) {
      for (let p = 0; p < kernel * kernel; p++) {
        const [h, w] = [row + Math.floor(p / kernel) - margin, column + (p % kernel) - margin];
        if (h < 0 || h > 2 || w < 0 || w > 2) continue;
        sum += (x[((sample * 4 + c) * 3 + h) * 3 + w] as number) * (weight[(o * 4 + c) * kernel * kernel + p] as number);
      }
    }
    y[index] = sum;
  }
  return y;
}

/** The kernel [4, 4, k, k] of cells [n, 4, 4, 1, 1] of which position p is the sum of cells `bound(p)`. */
function kernelOf(cells: ArrayLike<number>, positions: number, bound: (position: number) => readonly number[]): Float64Array {
  const kernel = new Float64Array(16 * positions);
  for (let i = 0; i < 16; i++) {
    for (let p = 0; p < positions; p++) {
      for (const cell of bound(p)) kernel[i * positions + p]! += cells[cell * 16 + i] as number;
    }
  }
  return kernel;
}

const x = fillFrom('x', -1, 1, elementCount(image.shape));
const cellsName = 'warehouse_manager.weights.0';
const cellsOf = (n: number) => fillFrom(cellsName, -1, 1, 16 * n);
const biasOfA = fillFrom('a.bias', -1, 1, 4);

function eachMachine(title: string, body: (t: ExecutionContext, machine: Machine) => Promise<void>): void {
  for (const machine of [referenceMachine, ...devicesPresent().map(nativeMachine)]) {
    test(`${title} on ${machine.name}`, (t) => body(t, machine));
  }
}

eachMachine('at temperature 1 a layer convolves with the cells that its mixtures are bound to', async (t, machine) => {
  const cases: [AllocationOptions, n: number, a: (position: number) => number[], b: number[]][] = [
    [{}, 10, (p) => [p], [9]],
    [{ budget: 2 }, 20, (p) => [2 * p], [18]],
    [{ budget: 2, attentionInitialization: 'severalToOne' }, 20, (p) => [2 * p, 2 * p + 1], [18, 19]],
    [{ attentionInitialization: 'allToOne' }, 10, () => [...Array(10).keys()], [...Array(10).keys()]],
    [{ cellSharing: false }, 10, (p) => [p], [9]],
    [{ cellSharing: false, budget: 2, attentionInitialization: 'severalToOne' }, 20, (p) => [2 * p, 2 * p + 1], [18, 19]],
    [{ attentionFunction: 'softmax' }, 10, (p) => [p], [9]],
    [{ attentionFunction: 'sigmoid' }, 10, (p) => [p], [9]],
    [{ attentionFunction: 'rectified' }, 10, (p) => [p], [9]],
  ];
  for (const [options, n, a, b] of cases) {
    const { y } = await run(machine, specs, options, 1);
    near(t, y[0] as Float64Array, naiveConvolution(x, kernelOf(cellsOf(n), 9, a), 3, biasOfA));
    near(
      t,
      y[1] as Float64Array,
      naiveConvolution(
        x,
        kernelOf(cellsOf(n), 1, () => b),
        1,
      ),
    );
  }
});

eachMachine('with a budget of 1/2 each cell can serve two mixtures that follow one another', async (t, machine) => {
  const pair = [
    convolutionSpec({ name: 'a', inChannels: 4, outChannels: 4, sharingName: 'stage0' }),
    convolutionSpec({ name: 'b', inChannels: 4, outChannels: 4, sharingName: 'stage0' }),
  ];
  // Cells of [2, 4]: two mixtures each, the upper and the lower half of the output channels.
  const { y } = await run(machine, pair, { budget: 1 / 2, cellOutRatio: 1 / 2, attentionInitialization: 'oneToSeveral' }, 1);
  for (const layer of [0, 1]) {
    const half = fillFrom(cellsName, -1, 1, 16).subarray(8 * layer, 8 * layer + 8);
    near(t, y[layer] as Float64Array, naiveConvolution(x, [...half, ...half], 1));
  }
});

eachMachine('without initial assignment the temperature changes nothing', async (t, machine) => {
  const [hot, cold] = [
    await run(machine, specs, { attentionInitialization: 'none' }, 1),
    await run(machine, specs, { attentionInitialization: 'none' }, 0),
  ];
  for (const layer of [0, 1]) t.deepEqual(hot.y[layer], cold.y[layer]);
  const assigned = await run(machine, specs, {}, 0);
  near(t, cold.y[0] as Float64Array, assigned.y[0] as Float64Array);
});

/** A sigmoid's logit that makes an attention of zero. */
const shut = -200;

eachMachine('without cell sharing the layer is one whose attentions to all other cells are zero', async (t, machine) => {
  const options = { attentionFunction: 'sigmoid' } as const;
  for (const budget of [1, 2]) {
    const own = await run(machine, specs, { ...options, budget, cellSharing: false }, 0.3);
    const n = 10 * budget;
    // The shared layers' logits: the own layers' where a cell is the mixture's own (or the zero cell), shut elsewhere.
    const shared = await run(machine, specs, { ...options, budget }, 0.3, (name, shape) => {
      const [, layer, tensor] = /^([ab])\.attention\.fc2\.(weight|bias)$/.exec(name) ?? [];
      if (!layer) return undefined;
      const mixtures = layer === 'a' ? 9 : 1;
      const start = layer === 'a' ? 0 : 9 * budget;
      const width = tensor === 'weight' ? 16 : 1;
      const values = new Float64Array(elementCount(shape)).fill(tensor === 'weight' ? 0 : shut);
      const small = fillFrom(name, -1, 1, mixtures * (budget + 1) * width);
      for (let mixture = 0; mixture < mixtures; mixture++) {
        for (let j = 0; j <= budget; j++) {
          const column = j === budget ? n : start + mixture * budget + j;
          const row = mixture * (n + 1) + column;
          values.set(small.subarray((mixture * (budget + 1) + j) * width, (mixture * (budget + 1) + j + 1) * width), row * width);
        }
      }
      return values;
    });
    for (const layer of [0, 1]) near(t, own.y[layer] as Float64Array, shared.y[layer] as Float64Array);
    for (const name of [cellsName, 'a.attention.fc1.weight', 'b.attention.fc1.weight', 'a.bias'])
      near(t, own.gradients.get(name) as Float64Array, shared.gradients.get(name) as Float64Array, 1e-3);
  }
});

eachMachine(
  "ODConv's gates multiply channels, kernel positions and filters, but not the bias, whether cells are whole kernels or not",
  async (t, machine) => {
    const [spec] = specs as [ConvolutionSpec];
    const sigmoid = (value: number) => 1 / (1 + Math.exp(-value));
    for (const spatialPartition of [true, false]) {
      for (const odconvTemperature of [1, 4]) {
        const options = { odconvAttentions: true, odconvTemperature, spatialPartition };
        // Without weights the gates are the same for all samples: sigmoids of the biases.
        const { y } = await run(machine, [spec], options, 1, (name, shape) =>
          /_fc\.weight$/.test(name) ? new Float64Array(elementCount(shape)) : undefined,
        );
        const gate = (name: string, count: number) =>
          Array.from(fillFrom(`a.attention.${name}_fc.bias`, -1, 1, count), (value) => sigmoid(value / odconvTemperature));
        const [channel, filter, spatial] = [gate('channel', 4), gate('filter', 4), gate('spatial', 9)];
        const whole = fillFrom(cellsName, -1, 1, 144);
        const kernel = spatialPartition ? kernelOf(whole, 9, (p) => [p]) : whole;
        const gated = Array.from(
          kernel,
          (value, i) =>
            value * (filter[Math.floor(i / 36)] as number) * (channel[Math.floor(i / 9) % 4] as number) * (spatial[i % 9] as number),
        );
        near(t, y[0] as Float64Array, naiveConvolution(x, gated, 3, biasOfA));
      }
    }
  },
);

test('a layer that its allocation was not made for is refused', (t) => {
  const [spec] = specs as [ConvolutionSpec];
  const convolution = kernelWarehouseConvolution(allocate([layerShape(spec, 'stage0')]));
  const graph = new Graph();
  t.throws(() => convolution(newContext(graph, false), graph.input('x', [2, 3, 3, 8]), { ...spec, inChannels: 8 }), {
    code: 'ERR_KW_ALLOCATION',
    message: /layer a: the allocation was made for .*\[4, 4, 3, 3\].* but the network has .*\[4, 8, 3, 3\]/,
  });
});
