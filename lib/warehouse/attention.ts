/**
 * Shape of a layer's attention (paper, section 3.2, figure 2): average pool, linear C -> h, norm, ReLU, linear h -> m rows of n + 1
 * logits, the last for the zero cell, which takes part in the normalization only.
 */
import { KernelWarehouseError } from '../errors.js';

/** BatchNorm with no bias in the linear layer before it, or LayerNorm with one. */
export type AttentionNorm = 'batch' | 'layer';

/**
 * Cheaper logits for the cells of other layers (the authors' `nonlocal_basis_ratio`): the second linear layer, without bias, gives for
 * each mixture logits of the `local` cells, `basis` coefficients and the zero cell's logit; a matrix that all mixtures share maps the
 * coefficients to the `others` cells' logits, of which the first `start` stand before the local ones and the rest after; a bias of
 * m * (n + 1) is added at the end.
 */
export interface NonlocalBasis {
  readonly local: number;
  readonly basis: number;
  readonly others: number;
  readonly start: number;
}

export interface AttentionShape {
  /** Input channels of the layer, over all groups. */
  readonly in: number;
  readonly hidden: number;
  readonly norm: AttentionNorm;
  /** Whether the first linear layer has a bias. */
  readonly firstBias: boolean;
  /** m of the layer. */
  readonly mixtures: number;
  /** n of the warehouse, without the zero cell. */
  readonly cells: number;
  /** Absent when the second linear layer gives all logits itself. */
  readonly nonlocal?: NonlocalBasis;
}

export interface AttentionOptions {
  readonly norm: AttentionNorm;
  /** Hidden width over input channels. */
  readonly reduction: number;
  readonly budget: number;
  /** Below 1: basis coefficients over cells of other layers. */
  readonly nonlocalBasisRatio: number;
  /** The layer's first cell. */
  readonly startCell: number;
}

const smallestHidden = 16;
const smallestBasis = 16;

/** Hidden width max(floor(C * reduction), 16). */
export function hiddenWidth(inChannels: number, reduction: number): number {
  return Math.max(Math.floor(inChannels * reduction), smallestHidden);
}

/**
 * Describes the attention of a layer with `mixtures` mixtures of a warehouse's `cells` cells.
 * @throws ERR_KW_ALLOCATION for a nonlocal basis in a warehouse that has no cells of other layers.
 */
export function attentionShape(
  layer: string,
  inChannels: number,
  mixtures: number,
  cells: number,
  options: AttentionOptions,
): AttentionShape {
  const shape: AttentionShape = {
    in: inChannels,
    hidden: hiddenWidth(inChannels, options.reduction),
    norm: options.norm,
    firstBias: options.norm === 'layer',
    mixtures,
    cells,
  };
  if (options.nonlocalBasisRatio >= 1) return shape;

  const local = Math.floor(options.budget * mixtures);
  const others = cells - local;
  if (others === 0) {
    throw new KernelWarehouseError(
      'ERR_KW_ALLOCATION',
      `layer ${layer}: nonlocalBasisRatio ${options.nonlocalBasisRatio} has no cells of other layers to map to, because all ${cells} cells of ` +
        'the warehouse are its own; give this warehouse a ratio of 1',
    );
  }
  const basis = Math.max(Math.floor(others * options.nonlocalBasisRatio), smallestBasis);
  return { ...shape, nonlocal: { local, basis, others, start: options.startCell } };
}

/** Trained values of an attention: both linear layers, the norm's scale and bias, and the nonlocal matrix. */
export function attentionParameterCount(shape: AttentionShape): number {
  const { hidden, mixtures, cells, nonlocal } = shape;
  const first = shape.in * hidden + (shape.firstBias ? hidden : 0) + 2 * hidden;
  const logits = mixtures * (cells + 1);
  if (nonlocal === undefined) return first + hidden * logits + logits;
  return first + hidden * mixtures * (nonlocal.local + nonlocal.basis + 1) + nonlocal.basis * nonlocal.others + logits;
}
