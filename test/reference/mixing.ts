/** mix_cells, mixed_conv2d and their gradients (paper section 3.2, equation 3): a weight is assembled from mixtures of a warehouse's cells. */
import { convolution, convolutionBackwardInput, convolutionBackwardWeight } from './convolution.js';
import { gemm, type Matrix } from './gemm.js';
import type { Arguments } from './operation.js';
import { elementCount, size, type Tensor, zeros } from './tensor.js';

/** One weight `[O, kh, kw, I]` as a grid of cells `[fe, keh, kew, ce]`. */
interface Assembly {
  readonly weightShape: readonly [number, number, number, number];
  readonly cellShape: readonly [number, number, number, number];
  readonly mixtures: number;
  readonly cells: number;
  readonly cellSize: number;
}

function assemblyOf(weightShape: readonly number[], cellsShape: readonly number[]): Assembly {
  const [cells, ...cellShape] = cellsShape as [number, number, number, number, number];
  const cellSize = elementCount(cellShape);
  return {
    weightShape: weightShape as [number, number, number, number],
    cellShape,
    cells,
    cellSize,
    mixtures: elementCount(weightShape) / cellSize,
  };
}

/** For each row of `ce` channels: where it lies in the weight and in the mixtures `[m, fe, keh, kew, ce]`. */
function eachRow(assembly: Assembly, visit: (inWeight: number, inMixtures: number) => void): void {
  const [, kernelHeight, kernelWidth, inChannels] = assembly.weightShape;
  const [fe, keh, kew, ce] = assembly.cellShape;
  const outGrid = assembly.weightShape[0] / fe;
  const inGrid = inChannels / ce;
  const spatialWidth = kernelWidth / kew;
  for (let mixture = 0, inMixtures = 0; mixture < assembly.mixtures; mixture++) {
    const gi = mixture % inGrid;
    const go = Math.floor(mixture / inGrid) % outGrid;
    const spatial = Math.floor(mixture / (inGrid * outGrid));
    const sh = Math.floor(spatial / spatialWidth);
    const sw = spatial % spatialWidth;
    for (let a = 0; a < fe; a++) {
      for (let p = 0; p < keh; p++) {
        for (let q = 0; q < kew; q++, inMixtures += ce) {
          visit((((go * fe + a) * kernelHeight + sh * keh + p) * kernelWidth + sw * kew + q) * inChannels + gi * ce, inMixtures);
        }
      }
    }
  }
}

function gatherMixtures(assembly: Assembly, weight: Float64Array, weightOffset: number, mixtures: Float64Array): void {
  const ce = assembly.cellShape[3];
  eachRow(assembly, (inWeight, inMixtures) => {
    for (let c = 0; c < ce; c++) mixtures[inMixtures + c] = weight[weightOffset + inWeight + c]!;
  });
}

function scatterMixtures(assembly: Assembly, mixtures: Float64Array, weight: Float64Array, weightOffset: number): void {
  const ce = assembly.cellShape[3];
  eachRow(assembly, (inWeight, inMixtures) => {
    for (let c = 0; c < ce; c++) weight[weightOffset + inWeight + c] = mixtures[inMixtures + c]!;
  });
}

function rows(data: Float64Array, offset: number, width: number): Matrix {
  return { data, offset, row: width, column: 1 };
}

function columns(data: Float64Array, offset: number, width: number): Matrix {
  return { data, offset, row: 1, column: width };
}

export function mix(weightShape: readonly number[], attention: Tensor, cells: Tensor): Tensor {
  const assembly = assemblyOf(weightShape, cells.shape);
  const { mixtures: m, cells: n, cellSize } = assembly;
  const batch = size(attention, 0);
  const weight = zeros([batch, ...weightShape]);
  const mixtures = new Float64Array(m * cellSize);
  for (let sample = 0; sample < batch; sample++) {
    mixtures.fill(0);
    gemm(m, cellSize, n, rows(attention.data, sample * m * n, n), rows(cells.data, 0, cellSize), rows(mixtures, 0, cellSize));
    scatterMixtures(assembly, mixtures, weight.data, sample * m * cellSize);
  }
  return weight;
}

export function backwardAttention(dweight: Tensor, cells: Tensor): Tensor {
  const assembly = assemblyOf(dweight.shape.slice(1), cells.shape);
  const { mixtures: m, cells: n, cellSize } = assembly;
  const batch = size(dweight, 0);
  const dattention = zeros([batch, m, n]);
  const mixtures = new Float64Array(m * cellSize);
  for (let sample = 0; sample < batch; sample++) {
    gatherMixtures(assembly, dweight.data, sample * m * cellSize, mixtures);
    gemm(m, n, cellSize, rows(mixtures, 0, cellSize), columns(cells.data, 0, cellSize), rows(dattention.data, sample * m * n, n));
  }
  return dattention;
}

export function backwardCells(dweight: Tensor, attention: Tensor, cellsShape: readonly number[]): Tensor {
  const assembly = assemblyOf(dweight.shape.slice(1), cellsShape);
  const { mixtures: m, cells: n, cellSize } = assembly;
  const dcells = zeros(cellsShape);
  const mixtures = new Float64Array(m * cellSize);
  for (let sample = 0; sample < size(dweight, 0); sample++) {
    gatherMixtures(assembly, dweight.data, sample * m * cellSize, mixtures);
    gemm(n, cellSize, m, columns(attention.data, sample * m * n, n), rows(mixtures, 0, cellSize), rows(dcells.data, 0, cellSize));
  }
  return dcells;
}

export function mixCells(args: Arguments): Tensor[] {
  return [mix([args.number('outChannels'), ...args.pair('kernel'), args.number('inChannels')], args.input(0), args.input(1))];
}

export function mixCellsBackwardAttention(args: Arguments): Tensor[] {
  return [backwardAttention(args.input(0), args.input(1))];
}

export function mixCellsBackwardCells(args: Arguments): Tensor[] {
  return [backwardCells(args.input(0), args.input(1), args.numbers('cellShape'))];
}

/** The shape of each sample's weight in an op whose x has `inChannels`. */
export function mixedWeightShape(args: Arguments, inChannels: number): number[] {
  return [args.number('outChannels'), ...args.pair('kernel'), inChannels / args.number('groups')];
}

/** Of the inputs from `first` on, attention and cells. */
function mixedWeight(args: Arguments, first: number, inChannels: number): Tensor {
  return args.rounded(mix(mixedWeightShape(args, inChannels), args.operand(first), args.operand(first + 1)));
}

export function mixedConv2d(args: Arguments): Tensor[] {
  const x = args.input(0);
  const weight = mixedWeight(args, 1, size(x, -1));
  return [convolution(args, x, weight, args.optional(3), true)];
}

export function mixedConv2dBackwardInput(args: Arguments): Tensor[] {
  const weight = mixedWeight(args, 1, args.outputShape(0)[3]!);
  return [convolutionBackwardInput(args, args.input(0), weight, true)];
}

export function mixedConv2dBackwardMixing(args: Arguments): Tensor[] {
  const [attention, cells] = [args.operand(2), args.operand(3)];
  const dweight = args.rounded(convolutionBackwardWeight(args, args.input(0), args.input(1), true));
  const dcells = backwardCells(dweight, attention, cells.shape);
  const accumulator = args.optional(4);
  if (accumulator) for (let i = 0; i < dcells.data.length; i++) dcells.data[i]! += accumulator.data[i]!;
  return [backwardAttention(dweight, cells), dcells];
}
