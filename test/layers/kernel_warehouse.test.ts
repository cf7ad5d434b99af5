/** KernelWarehouse layers where the golden cases do not reach: three-dimensional cells, names and shapes, one sample, misuse. */
import test from 'ava';
import { toPhysical } from '../../lib/graph/declaration.js';
import { Graph } from '../../lib/graph/graph.js';
import { output } from '../../lib/graph/ops/copy.js';
import { mixCells } from '../../lib/graph/ops/mix_cells.js';
import { kernelWarehouseConvolution } from '../../lib/layers/kernel_warehouse.js';
import { type ConvolutionSpecOptions, convolutionSpec, layerShape, newContext } from '../../lib/layers/layer.js';
import { allocate } from '../../lib/warehouse/index.js';
import { fillFrom } from '../golden/fill.js';
import { ReferenceSession } from '../golden/session.js';
import { elementCount } from '../reference/tensor.js';
import { indices, positionOf } from './naive_convolution.js';

const channels = { name: 'layer', inChannels: 4, outChannels: 6 };

function layerOf(options: ConvolutionSpecOptions, spatialPartition = true) {
  const spec = convolutionSpec(options);
  return { spec, convolution: kernelWarehouseConvolution(allocate([layerShape(spec, 'stage0')], { spatialPartition })) };
}

for (const spatialPartition of [true, false]) {
  test(`a cell of a 3-D kernel lies where its definition says, ${spatialPartition ? 'with' : 'without'} spatial partition`, async (t) => {
    // Cells [n, fe, ce, kd, kh, kw] and weights [N, O, I, kd, kh, kw], both in PyTorch's order.
    const kernel = [2, 3, 4];
    const [samples, count, cellOut, cellIn, outGrid, inGrid] = [2, 3, 2, 3, 2, 2];
    const cellKernel = spatialPartition ? [1, 1, 1] : kernel;
    const positions = spatialPartition ? elementCount(kernel) : 1;
    const mixtures = positions * outGrid * inGrid;
    const cellsShape = [count, cellOut, cellIn, ...cellKernel];
    const attention = fillFrom('attention', -1, 1, samples * mixtures * count);
    const cells = fillFrom('cells', -1, 1, elementCount(cellsShape));

    const graph = new Graph();
    const rowsAndColumns = ([depth, height, width]: readonly number[]) => [depth! * height!, width!] as [number, number];
    const weight = mixCells(
      graph.input('attention', [samples, mixtures, count]),
      graph.input('cells', [count, cellOut, ...rowsAndColumns(cellKernel), cellIn]),
      { outChannels: cellOut * outGrid, inChannels: cellIn * inGrid, kernel: rowsAndColumns(kernel) },
    );
    output('weight', weight);
    const session = new ReferenceSession(graph);
    await session.write('input', 'attention', attention);
    const physicalCells = new Float64Array(cells.length);
    toPhysical(cellsShape, 2, cells, physicalCells);
    await session.write('input', 'cells', physicalCells);
    await session.run();
    const actual = await session.read('output', 'weight');

    const weightShape = [samples, cellOut * outGrid, cellIn * inGrid, ...kernel];
    const expected = Float64Array.from(indices(weightShape), ([sample, out, inner, ...tap]) => {
      const cell = tap.map((at, axis) => Math.floor(at / cellKernel[axis]!));
      const grid = kernel.map((size, axis) => size / cellKernel[axis]!);
      const position = positionOf(grid, cell);
      const mixture = (position * outGrid + Math.floor(out! / cellOut)) * inGrid + Math.floor(inner! / cellIn);
      const within = [out! % cellOut, inner! % cellIn, ...tap.map((at, axis) => at % cellKernel[axis]!)];
      let sum = 0;
      for (let j = 0; j < count; j++) {
        sum += attention[(sample! * mixtures + mixture) * count + j]! * cells[positionOf(cellsShape, [j, ...within])]!;
      }
      return sum;
    });
    const physical = new Float64Array(expected.length);
    toPhysical(weightShape, 2, expected, physical);
    const worst = physical.reduce((most, value, i) => Math.max(most, Math.abs(value - actual[i]!)), 0);
    t.true(worst < 1e-12, `off by ${worst}`);
  });
}

test('names and shapes of every kind are those of the official state dict', (t) => {
  const stored = (options: Partial<ConvolutionSpecOptions>, x: readonly number[], spatialPartition: boolean) => {
    const { spec, convolution } = layerOf({ ...channels, bias: true, ...options }, spatialPartition);
    const graph = new Graph();
    const y = convolution(newContext(graph, false), graph.input('x', x), spec);
    const shapes = [...graph.parameters.values()].map(({ name, shape }) => `${name} [${shape}]`);
    return { y: y.shape, cells: shapes.find((text) => text.startsWith('warehouse')), bias: shapes.find((text) => /bias \[6\]/.test(text)) };
  };
  t.deepEqual(stored({ kind: 'conv1d', kernel: 3, stride: 2 }, [2, 8, 4], true), {
    y: [2, 3, 6],
    cells: 'warehouse_manager.weights.0 [3,6,4,1]',
    bias: 'layer.bias [6]',
  });
  t.is(stored({ kind: 'conv1d', kernel: 3 }, [2, 8, 4], false).cells, 'warehouse_manager.weights.0 [1,6,4,3]');
  t.is(stored({ kernel: [1, 3] }, [2, 3, 8, 4], false).cells, 'warehouse_manager.weights.0 [1,6,4,1,3]');
  t.deepEqual(stored({ kind: 'conv3d', kernel: [1, 2, 3], padding: [0, 1, 1] }, [2, 2, 3, 4, 4], false), {
    y: [2, 2, 4, 4, 6],
    cells: 'warehouse_manager.weights.0 [1,6,4,1,2,3]',
    bias: 'layer.bias [6]',
  });
  t.is(stored({ kind: 'conv3d', kernel: [1, 2, 3] }, [2, 2, 3, 4, 4], true).cells, 'warehouse_manager.weights.0 [6,6,4,1,1,1]');
  t.deepEqual(stored({ kind: 'linear' }, [2, 5, 4], true), {
    y: [2, 5, 6],
    cells: 'warehouse_manager.weights.0 [1,6,4,1]',
    bias: 'layer.conv.bias [6]',
  });
});

/** The layer's result for x, with every stored tensor filled from its name. */
async function resultOf(options: Partial<ConvolutionSpecOptions>, shape: readonly number[], training: boolean): Promise<Float64Array> {
  const { spec, convolution } = layerOf({ ...channels, ...options });
  const graph = new Graph();
  output('y', convolution(newContext(graph, training), graph.input('x', shape), spec));
  const session = new ReferenceSession(graph);
  for (const [kind, declarations] of [
    ['parameter', graph.parameters],
    ['state', graph.states],
  ] as const) {
    for (const { name, shape: size } of declarations.values()) await session.write(kind, name, fillFrom(name, 0.5, 1, elementCount(size)));
  }
  await session.write('control', 'temperature', [0.5]);
  await session.write('input', 'x', fillFrom('x', -1, 1, elementCount(shape)));
  await session.run();
  return session.read('output', 'y');
}

test('one sample trains with the running statistics, whatever the kind of layer', async (t) => {
  for (const [options, shape] of [
    [{ kind: 'conv1d', kernel: 3 }, [1, 5, 4]],
    [{ kernel: [2, 1] }, [1, 3, 2, 4]],
    [{ kind: 'conv3d', kernel: [1, 2, 2] }, [1, 2, 2, 3, 4]],
  ] as const) {
    const trained = await resultOf(options, shape, true);
    t.true(trained.every(Number.isFinite) && trained.some((value) => value !== 0));
    t.deepEqual(trained, await resultOf(options, shape, false));
  }
});

test('a linear layer takes features and any number of token axes', async (t) => {
  const features = await resultOf({ kind: 'linear' }, [2, 4], false);
  t.is(features.length, 12);
  t.deepEqual(features, await resultOf({ kind: 'linear' }, [2, 1, 4], false));
  t.deepEqual(await resultOf({ kind: 'linear' }, [2, 3, 2, 4], false), await resultOf({ kind: 'linear' }, [2, 6, 4], false));
});

test('an allocation for another layer is refused', (t) => {
  const { convolution } = layerOf({ ...channels, kind: 'conv1d', kernel: 3, groups: 2 });
  const build = (options: Partial<ConvolutionSpecOptions>) => {
    const graph = new Graph();
    const spec = convolutionSpec({ ...channels, kind: 'conv1d', kernel: 3, groups: 2, ...options });
    const sizes = new Array<number>(spec.kernel.length).fill(4);
    return convolution(newContext(graph, false), graph.input('x', [1, ...sizes, spec.inChannels]), spec);
  };
  t.notThrows(() => build({}));
  t.throws(() => build({ kernel: 5 }), {
    code: 'ERR_KW_ALLOCATION',
    message:
      /layer layer: the allocation was made for a conv1d with a weight of \[6, 2, 3\], groups 2 and no bias, but the network has a conv1d with a weight of \[6, 2, 5\]/,
  });
  for (const other of [{ kind: 'conv2d' }, { groups: 1 }, { bias: true }, { outChannels: 12 }] as const)
    t.throws(() => build(other), { code: 'ERR_KW_ALLOCATION' }, JSON.stringify(other));
});
