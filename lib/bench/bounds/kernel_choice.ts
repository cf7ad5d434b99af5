/**
 * The rule by which the CUDA backend chooses the kernels of a mixed convolution: the twin of native/cuda/mixing/mixed_kernel_choice.h, for
 * processors that are not there. test/native/cuda/mixed_kernel_choices.json holds both to the same answers.
 */
import { elements } from '../../graph/operation.js';
import type { Hardware } from './hardware.js';
import { type Direction, type MixedShape, weightElements } from './mixed_convolution.js';

/** How a mixed convolution is computed. */
export type MixedKernel =
  /** Each block of threads mixes a slab of weights for 8 samples and convolves with it; weights stay in shared memory. */
  | 'fused'
  /** Weights of a chunk of samples are mixed, then convolved while they are in the L2 cache, and so on through the batch. */
  | 'by samples'
  /** The same with chunks that are larger than that cache, so that weights pass through memory. */
  | 'in memory';

export interface MixedChoice {
  readonly kernel: MixedKernel;
  /** Samples of a chunk; not what `fused` goes by. */
  readonly samplesAtOnce: number;
  /** Output channels of a block of the fused kernel, else 0. */
  readonly fusedChannels: number;
}

/** What a processor's choice depends on. */
export type ChoosingHardware = Pick<Hardware, 'multiprocessors' | 'sharedKibibytesPerBlock' | 'l2Mebibytes'>;

/** Samples of a block of the fused kernel, and the positions of the output that it computes. */
export const fusedSamples = 8;
export const fusedPositions = 56;

/** Rows and columns of the tiles that convolutions and mixing are made of. */
const tile = 64;
const mixingRows = 128;

/** Bytes of the L2 cache that pass in the time of one of memory, by the backend's own figures. */
const memoryPerCache = 1.8;

/** Which kernels `direction` of a batch of `samples` gets. `elementBytes`: 2 for bfloat16, 4 for float32. */
export function chooseMixedKernel(
  shape: MixedShape,
  samples: number,
  direction: Direction,
  elementBytes: number,
  hardware: ChoosingHardware,
): MixedChoice {
  const weightBytes = strideBytes(shape, elementBytes);
  const samplesAtOnce = chunkSamples(shape, samples, direction, elementBytes, hardware);
  const staysInCache = 2 * samplesAtOnce * weightBytes <= weightCache(hardware);
  if (direction === 'forward' && elementBytes === 2) {
    for (const fusedChannels of [32, 16]) {
      if (!servesFused(shape, fusedChannels) || fusedBytes(shape, fusedChannels) > 1024 * hardware.sharedKibibytesPerBlock) continue;
      if (fusedPays(shape, samples, fusedChannels, { samplesAtOnce, staysInCache }, hardware)) {
        return { kernel: 'fused', samplesAtOnce, fusedChannels };
      }
    }
  }
  return { kernel: staysInCache ? 'by samples' : 'in memory', samplesAtOnce, fusedChannels: 0 };
}

/** Bytes of the L2 cache that the weights of two chunks may take: half of it. */
export function weightCache({ l2Mebibytes }: ChoosingHardware): number {
  return l2Mebibytes * 2 ** 19;
}

function parts(count: number, size: number): number {
  return Math.ceil(count / size);
}

function tilesOf(rows: number, columns: number): number {
  return parts(rows, tile) * parts(columns, tile);
}

/** Bytes from a sample's weight to the next. */
function strideBytes(shape: MixedShape, elementBytes: number): number {
  return 32 * parts(weightElements(shape), 32) * elementBytes;
}

/** As many as fit into the cache twice, or more where they would leave multiprocessors idle or read too much again; evenly divided. */
function chunkSamples(shape: MixedShape, samples: number, direction: Direction, elementBytes: number, hardware: ChoosingHardware): number {
  const weightBytes = strideBytes(shape, elementBytes);
  const { inChannels, outChannels, size, outSize, cells } = shape;
  const tiles = {
    forward: () => tilesOf(elements(outSize), outChannels),
    input: () => tilesOf(elements(size), inChannels),
    mixing: () => tilesOf(outChannels, weightElements(shape) / outChannels),
  }[direction]();
  const cache = weightCache(hardware);
  // What each chunk goes over again: the cells, or the float32 sums of their gradient, read and written.
  const fixedBytes = elements(cells) * (direction === 'mixing' ? 8 : elementBytes);
  const withinCache = Math.floor(cache / (2 * weightBytes));
  const filling = parts(hardware.multiprocessors, tiles);
  const amortizing = fixedBytes > cache ? parts(2 * fixedBytes, 3 * weightBytes) : 1;
  const most = Math.min(samples, Math.max(1, withinCache, filling, amortizing));
  return parts(samples, parts(samples, most));
}

function servesFused({ groups, kernel, outSize, cells }: MixedShape, channels: number): boolean {
  const [, rows, height, width, columns] = cells as [number, number, number, number, number];
  const served = groups === 1 && [1, 9].includes(elements(kernel)) && elements(outSize) <= fusedPositions;
  return served && height * width === 1 && rows % channels === 0 && columns % 16 === 0;
}

/** Positions of the input that a block keeps of each sample. */
function patchPositions({ outSize, kernel, stride, dilation }: MixedShape): number {
  if (elements(kernel) === 1) return elements(outSize);
  const at = (values: readonly number[], axis: number) => values[axis] as number;
  return elements(outSize.map((outputs, axis) => (outputs - 1) * at(stride, axis) + (at(kernel, axis) - 1) * at(dilation, axis) + 1));
}

/** Shared memory of a block: attention, cells, two slabs of its samples' input, weights; in the end the result in their place. */
function fusedBytes(shape: MixedShape, channels: number): number {
  const [count, columns] = [shape.cells[0] as number, shape.cells[4] as number];
  const depth = 16 * parts(count, 16);
  const rows = 16 * parts(fusedSamples * elements(shape.kernel), 16);
  const attention = (shape.inChannels / columns) * rows * (depth + 8) * 2;
  const cells = depth * (channels * 16 + 8) * 2;
  const inputs = 2 * fusedSamples * patchPositions(shape) * 16 * 2;
  const weights = rows * (channels * 16 * 2 + 16);
  return Math.max(attention + cells + inputs + weights, fusedSamples * elements(shape.outSize) * (channels + 4) * 4);
}

/** Whether less passes through the L2 cache for each weight than by assembling it, with a block for each multiprocessor at least. */
function fusedPays(
  shape: MixedShape,
  samples: number,
  channels: number,
  { samplesAtOnce, staysInCache }: { readonly samplesAtOnce: number; readonly staysInCache: boolean },
  { multiprocessors }: ChoosingHardware,
): boolean {
  const { outChannels, inChannels, kernel, outSize, cells } = shape;
  if ((outChannels / channels) * parts(samples, fusedSamples) < multiprocessors) return false;
  const [count, columns] = [cells[0] as number, cells[4] as number];
  const taps = elements(kernel);
  const fused = (2 * count) / ((fusedSamples * taps * inChannels) / columns) + (2 * patchPositions(shape)) / (taps * channels);
  const mixtures = (weightElements(shape) * count) / elements(cells);
  const rows = Math.min(mixingRows, samplesAtOnce * mixtures);
  const assembled = (2 * count) / rows + 4 * (staysInCache ? 1 : memoryPerCache) + (2 * elements(outSize)) / tile;
  return fused < assembled;
}
