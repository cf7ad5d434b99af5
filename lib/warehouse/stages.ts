/**
 * Sharing names of the network families: to which stage's warehouse a convolution belongs. KernelWarehouse reassigns the first layers of a
 * stage to the stage before (paper, appendix A.3, Table 15). One side of their kernels still has that stage's channels, and would otherwise
 * force small common divisors on all the others. Layer and convolution numbers matter only for narrow sharing ranges, but follow the
 * authors' so that warehouses get their names.
 */
import { KernelWarehouseError } from '../errors.js';

/** The name of a position, such as `stage0_layer1_conv2`. */
export function sharingName(stage: number | string, layer: number | string, convolution: string): string {
  return `stage${stage}_layer${layer}_${convolution}`;
}

/** The place of a convolution in a residual network of four stages; all numbers count from 0. */
export interface ResidualPosition {
  readonly stage: number;
  readonly block: number;
  /** Among the block's two or three convolutions, or `shortcut`. */
  readonly convolution: number | 'shortcut';
}

/**
 * ResNet: the first convolution of a stage and its shortcut belong to the stage before. `undefined` means that the authors leave this
 * convolution static. Nothing comes before the first stage: with bottlenecks, its first convolution and its shortcut are static (paper,
 * appendix A.3: "except the first two layers"); with basic blocks, its first convolution stays in the first stage.
 * @param blocks number of blocks in each stage
 * @throws ERR_KW_INVALID_ARGUMENT for a position outside the network, or a shortcut outside a stage's first block.
 */
export function residualSharingName(position: ResidualPosition, blocks: readonly number[], bottleneck: boolean): string | undefined {
  const { stage, block, convolution } = position;
  const depth = blocks[stage] ?? 0;
  const convolutions = bottleneck ? 3 : 2;
  const inside = convolution === 'shortcut' ? block === 0 : convolution >= 0 && convolution < convolutions && block >= 0 && block < depth;
  if (depth === 0 || !inside) {
    throw new KernelWarehouseError(
      'ERR_KW_INVALID_ARGUMENT',
      `stages: no convolution ${String(convolution)} in block ${block} of stage ${stage} of a network with ${blocks.join(', ')} blocks`,
    );
  }
  const before = blocks[stage - 1];
  if (convolution === 'shortcut') return before === undefined ? undefined : sharingName(stage - 1, before + 1, 'conv0');
  if (block === 0 && convolution === 0) {
    if (before !== undefined) return sharingName(stage - 1, before, 'conv0');
    return bottleneck ? undefined : sharingName(0, 0, 'conv0');
  }
  return sharingName(stage, block, `conv${convolution}`);
}

/** A row of an inverted-residual network: `blocks` blocks of one width; rows of one resolution and similar width share a stage. */
export interface InvertedResidualRow {
  readonly blocks: number;
  readonly stage: number;
}

/**
 * MobileNetV2: stage and layer number of every block, in order, followed by those of the head's convolution. The first block of each stage
 * except the very first is reassigned as a whole.
 */
export function invertedResidualStages(
  rows: readonly InvertedResidualRow[],
): readonly { readonly stage: number; readonly layer: number }[] {
  const positions: { stage: number; layer: number }[] = [];
  let layer = 0;
  let stage = rows[0]?.stage ?? 0;
  for (const row of rows) {
    for (let block = 0; block < row.blocks; block++) {
      const reassigned = row.stage !== stage;
      positions.push({ stage, layer });
      layer = reassigned ? 0 : layer + 1;
      stage = row.stage;
    }
  }
  positions.push({ stage, layer });
  return positions;
}

/**
 * A long stage, split into groups of `size` blocks with a warehouse each, as the paper splits ConvNeXt's third stage: block 4 of stage 2 in
 * groups of 3 belongs to `2b`.
 */
export function stagePart(stage: number, block: number, size: number): string {
  return `${stage}${String.fromCharCode('a'.charCodeAt(0) + Math.floor(block / size))}`;
}
