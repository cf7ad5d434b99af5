/** conv2d, samplewise_conv2d and their gradients: im2col and a matrix product, one sample and one group at a time. */
import { gemm, type Matrix } from './gemm.js';
import type { Arguments } from './operation.js';
import { size, type Tensor, zeros } from './tensor.js';

interface Geometry {
  readonly batch: number;
  readonly height: number;
  readonly width: number;
  readonly channels: number;
  readonly outHeight: number;
  readonly outWidth: number;
  readonly outChannels: number;
  readonly groups: number;
  readonly kernel: readonly [number, number];
  readonly stride: readonly [number, number];
  readonly padding: readonly [number, number];
  readonly dilation: readonly [number, number];
  /** Elements of one sample's weight `[O, kh, kw, C/groups]`, and how far apart two samples' weights are: 0 when they share one. */
  readonly weightSize: number;
  readonly weightStep: number;
}

function geometryOf(
  args: Arguments,
  x: readonly number[],
  y: readonly number[],
  kernel: readonly [number, number],
  samplewise: boolean,
): Geometry {
  const [batch, height, width, channels] = x as [number, number, number, number];
  const [, outHeight, outWidth, outChannels] = y as [number, number, number, number];
  const groups = args.number('groups');
  const weightSize = outChannels * kernel[0] * kernel[1] * (channels / groups);
  return {
    batch,
    height,
    width,
    channels,
    outHeight,
    outWidth,
    outChannels,
    groups,
    kernel,
    weightSize,
    stride: args.pair('stride'),
    padding: args.pair('padding'),
    dilation: args.pair('dilation'),
    weightStep: samplewise ? weightSize : 0,
  };
}

function kernelOf(weight: Tensor): [number, number] {
  return [size(weight, -3), size(weight, -2)];
}

/** Calls `visit(column, pixel)` with the offset of each kernel position's channels in the columns and of the pixel under it (-1: padding). */
function unfold(g: Geometry, sample: number, group: number, visit: (column: number, pixel: number) => void): void {
  const perGroup = g.channels / g.groups;
  let column = 0;
  for (let oh = 0; oh < g.outHeight; oh++) {
    for (let ow = 0; ow < g.outWidth; ow++) {
      for (let p = 0; p < g.kernel[0]; p++) {
        const h = oh * g.stride[0] - g.padding[0] + p * g.dilation[0];
        for (let q = 0; q < g.kernel[1]; q++) {
          const w = ow * g.stride[1] - g.padding[1] + q * g.dilation[1];
          const inside = h >= 0 && h < g.height && w >= 0 && w < g.width;
          visit(column, inside ? ((sample * g.height + h) * g.width + w) * g.channels + group * perGroup : -1);
          column += perGroup;
        }
      }
    }
  }
}

/** Columns `[OH*OW, kh*kw*C/groups]` of one sample and group. */
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
  const pixels = g.outHeight * g.outWidth;
  const y2d: Matrix = { data: y, offset: sample * pixels * g.outChannels + group * outPerGroup, row: g.outChannels, column: 1 };
  const weight2d: Matrix = { data: weight, offset: sample * g.weightStep + group * outPerGroup * k, row: k, column: 1 };
  const columns2d: Matrix = { data: columns, offset: 0, row: k, column: 1 };
  return { k, outPerGroup, pixels, y: y2d, weight: weight2d, columns: columns2d };
}

function transposed(matrix: Matrix): Matrix {
  return { ...matrix, row: matrix.column, column: matrix.row };
}

function columnsFor(g: Geometry): Float64Array {
  return new Float64Array((g.outHeight * g.outWidth * g.weightSize) / g.outChannels);
}

/** y of x `[N,H,W,C]` and a weight `[O,kh,kw,C/groups]` or, sample-wise, `[N,O,kh,kw,C/groups]`. */
export function convolution(args: Arguments, x: Tensor, weight: Tensor, bias: Tensor | undefined, samplewise: boolean): Tensor {
  const y = zeros(args.outputShape(0));
  const g = geometryOf(args, x.shape, y.shape, kernelOf(weight), samplewise);
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
  const g = geometryOf(args, dx.shape, dy.shape, kernelOf(weight), samplewise);
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

export function convolutionBackwardWeight(args: Arguments, x: Tensor, dy: Tensor, kernel: [number, number], samplewise: boolean): Tensor {
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
