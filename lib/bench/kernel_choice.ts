/** The rule by which the CUDA backend chooses a step's kernel; the shapes alone decide, and the size of the L2 cache. */
import type { Hardware } from './hardware.js';
import type { MixedConvolution } from './mixed_convolution.js';

/** How a mixed convolution is computed. */
export type MixedKernel =
  /** Each block of threads mixes its channels' few weights itself; they are never stored. */
  | 'depth-wise'
  /** Each block of threads mixes a slab of weights for 8 samples and convolves with it; weights stay in shared memory. */
  | 'fused'
  /** Weights of as many samples as stay in the L2 cache are mixed, then convolved, and so on through the batch. */
  | 'by samples'
  /** The same with a slice of the weights' channels, for all samples. */
  | 'by channels'
  /** All weights are mixed, into memory, and then convolved. */
  | 'in memory';

/** What the rule does with a batch's weights, and what that moves beside the tensors of the step, each of which is read or written once. */
export interface MixedChoice {
  readonly kernel: MixedKernel;
  /** Pieces that the weights are mixed in; 1 where they are never stored or all of them at once. */
  readonly pieces: number;
  /** Bytes of all samples' weights, or of their gradient, where they are stored; each product writes or reads them once. */
  readonly storedBytes: number;
  /** Bytes of cells or source that are read, or written, more than once, all times counted but the first. */
  readonly rereadBytes: number;
  /** Whether that is too large to stay in the L2 cache meanwhile. */
  readonly rereadsMemory: boolean;
}

/** A block of the fused kernel. */
export interface FusedTile {
  readonly samples: number;
  readonly positions: number;
  readonly channels: number;
}

const fusedSamples = 8;
/** One image of 7 x 7, in rows of a product's tiles; what a block's sums of 8 samples and 64 channels leave registers for. */
const fusedPositions = 56;
/** A block's least channels of a cell: a row of a product's tiles. */
const tileChannels = 16;
/** Cells that stand beside each other in a weight and are mixed by one block, which reads a cell's rows once for all of them. */
const fusedBlocks = 4;
/** What a block of the fused gradient holds in registers: a tile of 16 x 32 of each cell's gradient, and of each mixture's. */
const gradientCells = 80;
const gradientMixtures = 9;
const gradientTile = { rows: 16, columns: 32 };

export function fusedTile({ blocks }: MixedConvolution): FusedTile {
  const channels = blocks === 1 ? 2 * tileChannels : tileChannels * Math.min(blocks, fusedBlocks);
  return { samples: fusedSamples, positions: fusedPositions, channels };
}

/** About how many bytes the L2 cache gives in the time that memory takes for one. */
const memoryWeight = 1.6;

/**
 * The kernel of a mixed convolution or of a gradient of it.
 *
 * 1. Depth-wise: the kernel that mixes its own weights.
 * 2. Else the candidate that moves the least beside the step's own tensors, bytes of memory counting 1.6 times those of the L2 cache:
 *    - by samples: weights are written and read in the cache (their gradient: written, and read twice), and all cells are read again for each piece of
 *      the batch; for the gradient, theirs is also read and written.
 *    - by channels: the source is read again instead; a slice has at least 16 channels of each cell.
 *    - in memory: nothing is read again, but the weights pass through memory.
 *    - fused: weights are not stored; all cells are read again for each 8 samples, the source for each 32 or 64 channels. Only for products in
 *      tiles (not float32 without TF32), cells of one position in multiples of 16 channels, and at most 56 positions. The gradient's kernel
 *      keeps a tile of 16 x 32 of every cell and mixture, of at most 80 cells and 9 mixtures, and reads both factors again for each tile.
 *
 * @param tiles whether the products run on tensor cores
 */
export function chooseMixedKernel(convolution: MixedConvolution, hardware: Hardware, tiles: boolean): MixedChoice {
  if (convolution.depthwise) return { kernel: 'depth-wise', pieces: 1, storedBytes: 0, rereadBytes: 0, rereadsMemory: false };
  const candidates = [
    ...assembledChoices(convolution, hardware),
    ...(tiles && fusible(convolution) ? [fusedChoice(convolution, hardware)] : []),
  ];
  const uses = convolution.direction === 'mixing' ? 3 : 2;
  const moved = ({ kernel, storedBytes, rereadBytes, rereadsMemory }: MixedChoice): number =>
    uses * storedBytes * (kernel === 'in memory' ? memoryWeight : 1) + rereadBytes * (rereadsMemory ? memoryWeight : 1);
  return candidates.reduce((least, candidate) => (moved(candidate) < moved(least) ? candidate : least));
}

/** Bytes of all samples' assembled weights, and of their gradient. */
export function storedBytes({ weightElements, samples, elementBytes }: MixedConvolution): number {
  return weightElements * samples * elementBytes;
}

function fusible({ tiled, direction, positions, cells, mixtures }: MixedConvolution): boolean {
  return tiled && positions <= fusedPositions && (direction !== 'mixing' || (cells <= gradientCells && mixtures <= gradientMixtures));
}

function assembledChoices(convolution: MixedConvolution, { l2Megabytes, l2RingMegabytes }: Hardware): MixedChoice[] {
  const { direction, cellChannels, samples, weightElements, elementBytes, sourceBytes } = convolution;
  const stored = storedBytes(convolution);
  const ring = 1e6 * l2RingMegabytes;
  const rest = 1e6 * l2Megabytes - ring;
  // One piece is mixed while the one before it is convolved.
  const samplesAtOnce = Math.max(1, Math.floor(ring / (2 * weightElements * elementBytes)));
  const chunks = Math.ceil(samples / samplesAtOnce);
  // The float32 gradient of the cells is added to, chunk after chunk.
  const cellBytes = convolution.cellElements * (elementBytes + (direction === 'mixing' ? 8 : 0));
  const slices = Math.ceil((2 * stored) / ring);
  const choice = (kernel: MixedKernel, pieces: number, bytes: number): MixedChoice => ({
    kernel,
    pieces,
    storedBytes: stored,
    rereadBytes: (pieces - 1) * bytes,
    rereadsMemory: bytes > rest,
  });
  return [
    choice('by samples', chunks, cellBytes),
    ...(slices <= Math.floor(cellChannels / tileChannels) ? [choice('by channels', slices, sourceBytes)] : []),
    choice('in memory', 1, 0),
  ];
}

function fusedChoice(convolution: MixedConvolution, { l2Megabytes }: Hardware): MixedChoice {
  const { direction, samples, positions, channels, blocks, cellElements, elementBytes, cells, cellChannels } = convolution;
  const { sourceBytes, resultBytes, attentionBytes } = convolution;
  const choice = (rereadBytes: number, largest: number): MixedChoice => ({
    kernel: 'fused',
    pieces: 1,
    storedBytes: 0,
    rereadBytes,
    rereadsMemory: largest > 1e6 * l2Megabytes,
  });
  if (direction === 'mixing') {
    const columns = Math.ceil(cellElements / cells / cellChannels / gradientTile.columns);
    const rows = Math.ceil(cellChannels / gradientTile.rows);
    const rereads = (rows - 1) * sourceBytes + (columns - 1) * resultBytes + (rows * columns - 1) * attentionBytes;
    return choice(rereads, Math.max(sourceBytes, resultBytes));
  }
  const tile = fusedTile(convolution);
  const blockGroups = Math.ceil(blocks / Math.min(blocks, fusedBlocks));
  const cellReads = Math.ceil(samples / tile.samples) * Math.ceil(positions / tile.positions) * blockGroups;
  const sourceReads = Math.ceil(channels / tile.channels);
  const cellBytes = cellElements * elementBytes;
  return choice((cellReads - 1) * cellBytes + (sourceReads - 1) * sourceBytes, Math.max(cellBytes, sourceBytes));
}
