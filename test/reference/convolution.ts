/** Static and sample-wise convolutions and their gradients: im2col and a matrix product, one sample and one group at a time. */
import { gemm, type Matrix } from './gemm.js';
import type { Arguments } from './operation.js';
import { elementCount, size, type Tensor, zeros } from './tensor.js';

/** Depth, height, width; what has two dimensions has a depth of 1. */
type Triple = readonly [number, number, number];

interface Geometry {
  readonly batch: number;
  readonly input: Triple;
  readonly channels: number;
  readonly output: Triple;
  readonly outChannels: number;
  readonly groups: number;
  readonly kernel: Triple;
  readonly stride: Triple;
  readonly padding: Triple;
  readonly dilation: Triple;
  /** Elements of one sample's weight `[O, kd, kh, kw, C/groups]`, and how far apart two samples' weights are: 0 when they share one. */
  readonly weightSize: number;
  readonly weightStep: number;
}

function triple(args: Arguments, name: string, sizes: readonly number[], depth: number): Triple {
  if (sizes.length === 2) return [depth, sizes[0]!, sizes[1]!];
  return sizes.length === 3 ? [sizes[0]!, sizes[1]!, sizes[2]!] : args.fail(`${name} is neither for two dimensions nor for three`);
}

function geometryOf(
  args: Arguments,
  x: readonly number[],
  y: readonly number[],
  kernelSizes: readonly number[],
  samplewise: boolean,
): Geometry {
  const groups = args.number('groups');
  const channels = x.at(-1)!;
  const outChannels = y.at(-1)!;
  const kernel = triple(args, 'kernel', kernelSizes, 1);
  const weightSize = outChannels * elementCount(kernel) * (channels / groups);
  const attribute = (name: string, depth: number) => triple(args, name, args.numbers(name), depth);
  return {
    batch: x[0]!,
    input: triple(args, 'x', x.slice(1, -1), 1),
    channels,
    output: triple(args, 'y', y.slice(1, -1), 1),
    outChannels,
    groups,
    kernel,
    weightSize,
    stride: attribute('stride', 1),
    padding: attribute('padding', 0),
    dilation: attribute('dilation', 1),
    weightStep: samplewise ? weightSize : 0,
  };
}

function kernelOf(weight: Tensor, samplewise: boolean): number[] {
  return weight.shape.slice(samplewise ? 2 : 1, -1);
}

/** Calls `visit(column, pixel)` with the offset of each kernel position's channels in the columns and of the pixel under it (-1: padding). */
function unfold(g: Geometry, sample: number, group: number, visit: (column: number, pixel: number) => void): void {
  const perGroup = g.channels / g.groups;
  const [depth, height, width] = g.input;
  const inside = (index: number, size: number) => index >= 0 && index < size;
  const at = (axis: 0 | 1 | 2, output: number, kernel: number) => output * g.stride[axis] - g.padding[axis] + kernel * g.dilation[axis];
  let column = 0;
  for (let od = 0; od < g.output[0]; od++) {
    for (let oh = 0; oh < g.output[1]; oh++) {
      for (let ow = 0; ow < g.output[2]; ow++) {
        for (let r = 0; r < g.kernel[0]; r++) {
          const d = at(0, od, r);
          for (let p = 0; p < g.kernel[1]; p++) {
            const h = at(1, oh, p);
            for (let q = 0; q < g.kernel[2]; q++, column += perGroup) {
              const w = at(2, ow, q);
              const pixel = (((sample * depth + d) * height + h) * width + w) * g.channels + group * perGroup;
              visit(column, inside(d, depth) && inside(h, height) && inside(w, width) ? pixel : -1);
            }
          }
        }
      }
    }
  }
}

/** Columns `[positions, kernel positions * C/groups]` of one sample and group. */
function imageToColumns(g: Geometry, x: Float64Array, sample: number, group: number, columns: Float64Array): void {
  const perGroup = g.channels / g.groups;
  unfold(g, sample, group, (column, pixel) => {
    if (pixel < 0) columns.fill(0, column, column + perGroup);
    else for (let c = 0; c < perGroup; c++) columns[column + c] = x[pixel + c]!;
  });
}

function addColumnsToImage(g: Geometry, columns: Float64Array, sample: number, group: number, dx: Float64Array): void {
  const perGroup = g.channels / g.groups;
  unfold(g, sample, group, (column, pixel) => {
    if (pixel >= 0) for (let c = 0; c < perGroup; c++) dx[pixel + c]! += columns[column + c]!;
  });
}

/** The matrices of one sample and group: columns `[P, K]`, weight `[O/groups, K]`, y `[P, O/groups]`. */
function matrices(g: Geometry, sample: number, group: number, columns: Float64Array, weight: Float64Array, y: Float64Array) {
  const k = g.weightSize / g.outChannels;
  const outPerGroup = g.outChannels / g.groups;
  const pixels = elementCount(g.output);
  const y2d: Matrix = { data: y, offset: sample * pixels * g.outChannels + group * outPerGroup, row: g.outChannels, column: 1 };
  const weight2d: Matrix = { data: weight, offset: sample * g.weightStep + group * outPerGroup * k, row: k, column: 1 };
  const columns2d: Matrix = { data: columns, offset: 0, row: k, column: 1 };
  return { k, outPerGroup, pixels, y: y2d, weight: weight2d, columns: columns2d };
}

function transposed(matrix: Matrix): Matrix {
  return { ...matrix, row: matrix.column, column: matrix.row };
}

function columnsFor(g: Geometry): Float64Array {
  return new Float64Array((elementCount(g.output) * g.weightSize) / g.outChannels);
}

/** y of x `[N,(D,)H,W,C]` and a weight `[O,(kd,)kh,kw,C/groups]` or, sample-wise, `[N,O,(kd,)kh,kw,C/groups]`. */
export function convolution(args: Arguments, x: Tensor, weight: Tensor, bias: Tensor | undefined, samplewise: boolean): Tensor {
  const y = zeros(args.outputShape(0));
  const g = geometryOf(args, x.shape, y.shape, kernelOf(weight, samplewise), samplewise);
  const columns = columnsFor(g);
  for (let sample = 0; sample < g.batch; sample++) {
    for (let group = 0; group < g.groups; group++) {
      imageToColumns(g, x.data, sample, group, columns);
      const at = matrices(g, sample, group, columns, weight.data, y.data);
      gemm(at.pixels, at.outPerGroup, at.k, at.columns, transposed(at.weight), at.y);
    }
  }
  if (bias) for (let i = 0; i < y.data.length; i++) y.data[i]! += bias.data[i % g.outChannels]!;
  return y;
}

export function convolutionBackwardInput(args: Arguments, dy: Tensor, weight: Tensor, samplewise: boolean): Tensor {
  const dx = zeros(args.outputShape(0));
  const g = geometryOf(args, dx.shape, dy.shape, kernelOf(weight, samplewise), samplewise);
  const columns = columnsFor(g);
  for (let sample = 0; sample < g.batch; sample++) {
    for (let group = 0; group < g.groups; group++) {
      columns.fill(0);
      const at = matrices(g, sample, group, columns, weight.data, dy.data);
      gemm(at.pixels, at.k, at.outPerGroup, at.y, at.weight, at.columns);
      addColumnsToImage(g, columns, sample, group, dx.data);
    }
  }
  return dx;
}

export function convolutionBackwardWeight(args: Arguments, x: Tensor, dy: Tensor, samplewise: boolean): Tensor {
  const kernel = args.numbers('kernel');
  const outChannels = size(dy, -1);
  const weightShape = [outChannels, ...kernel, size(x, -1) / args.number('groups')];
  const dweight = zeros(samplewise ? [size(x, 0), ...weightShape] : weightShape);
  const g = geometryOf(args, x.shape, dy.shape, kernel, samplewise);
  const columns = columnsFor(g);
  for (let sample = 0; sample < g.batch; sample++) {
    for (let group = 0; group < g.groups; group++) {
      imageToColumns(g, x.data, sample, group, columns);
      const at = matrices(g, sample, group, columns, dweight.data, dy.data);
      gemm(at.outPerGroup, at.k, at.pixels, transposed(at.y), at.columns, at.weight);
    }
  }
  return dweight;
}
