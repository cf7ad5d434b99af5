/**
 * Shape of a layer's attention module (paper, appendix A.3): average pool, linear C -> h, norm, ReLU, linear h -> m rows of n + 1 logits.
 * The last logit of a row is that of the zero cell, which only counts in the normalization.
 */
import { KernelWarehouseError } from '../errors.js';
import type { AttentionFunction } from '../graph/ops/attention_function.js';
import { type LayerShape, weightShape } from './layer.js';

export { type AttentionFunction, attentionFunctions } from '../graph/ops/attention_function.js';

/** BatchNorm with no bias in the linear layer before it, or LayerNorm with one. */
export type AttentionNorm = 'batch' | 'layer';

/**
 * Cheaper logits for the cells of other layers (the authors' `nonlocal_basis_ratio`). The second linear layer, without bias, gives each
 * mixture the logits of the `local` cells, `basis` coefficients and the logit of the zero cell. A matrix that all mixtures share maps the
 * coefficients to the logits of the `others` cells; the first `start` of these go before the local ones and the rest after. A bias of m *
 * (n + 1) is added at the end.
 */
export interface NonlocalBasis {
  readonly local: number;
  readonly basis: number;
  readonly others: number;
  readonly start: number;
}

/**
 * ODConv's attentions beside those for the cells (KW*, paper, appendix A.4 and Table 17). They are gates: sigmoids of a linear layer's
 * outputs over `temperature`, from the same hidden values. y = filter * conv(channel * x; spatial * kernel).
 */
export interface OdconvAttentions {
  /** One for each input channel, over all groups. */
  readonly channel: number;
  /** One for each output channel. */
  readonly filter: number;
  /** One for each position of the kernel, row by row; 0 for a kernel of one position, which has none. */
  readonly spatial: number;
  readonly temperature: number;
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
  /** Cells that a mixture combines, without the zero cell: n of the warehouse or, without cell sharing, its own. */
  readonly cells: number;
  readonly function: AttentionFunction;
  /** Absent if the second linear layer gives all logits itself. */
  readonly nonlocal?: NonlocalBasis;
  /** Present in KW*. */
  readonly odconv?: OdconvAttentions;
}

export interface AttentionOptions {
  readonly norm: AttentionNorm;
  readonly function: AttentionFunction;
  /** Hidden width over input channels. */
  readonly reduction: number;
  readonly budget: number;
  /** Below 1: basis coefficients over cells of other layers. */
  readonly nonlocalBasisRatio: number;
  /** The layer's first cell. */
  readonly startCell: number;
  /** Temperature of ODConv's attentions; undefined if there are none. */
  readonly odconvTemperature: number | undefined;
}

const smallestHidden = 16;
const smallestBasis = 16;

/** Hidden width max(floor(C * reduction), 16). */
export function hiddenWidth(inChannels: number, reduction: number): number {
  return Math.max(Math.floor(inChannels * reduction), smallestHidden);
}

/**
 * Describes the attention module of a layer with `mixtures` mixtures of `cells` cells each.
 * @throws ERR_KW_ALLOCATION for a nonlocal basis in a warehouse without cells of other layers.
 */
export function attentionShape(layer: LayerShape, mixtures: number, cells: number, options: AttentionOptions): AttentionShape {
  const positions = weightShape(layer)
    .slice(2)
    .reduce((product, size) => product * size, 1);
  const { odconvTemperature: temperature } = options;
  const shape: AttentionShape = {
    in: layer.inChannels,
    hidden: hiddenWidth(layer.inChannels, options.reduction),
    norm: options.norm,
    firstBias: options.norm === 'layer',
    mixtures,
    cells,
    function: options.function,
    ...(temperature === undefined
      ? {}
      : { odconv: { channel: layer.inChannels, filter: layer.outChannels, spatial: positions > 1 ? positions : 0, temperature } }),
  };
  if (options.nonlocalBasisRatio >= 1) return shape;

  const local = Math.floor(options.budget * mixtures);
  const others = cells - local;
  if (others <= 0) {
    throw new KernelWarehouseError(
      'ERR_KW_ALLOCATION',
      `layer ${layer.name}: nonlocalBasisRatio ${options.nonlocalBasisRatio} has no cells of other layers to map to, ` +
        `because all ${cells} cells that its mixtures see are its own; give this warehouse a ratio of 1`,
    );
  }
  const basis = Math.max(Math.floor(others * options.nonlocalBasisRatio), smallestBasis);
  return { ...shape, nonlocal: { local, basis, others, start: options.startCell } };
}

/** Trained values of an attention: all linear layers, the norm's scale and bias, and the nonlocal matrix. */
export function attentionParameterCount(shape: AttentionShape): number {
  const { hidden, mixtures, cells, nonlocal, odconv } = shape;
  const first = shape.in * hidden + (shape.firstBias ? hidden : 0) + 2 * hidden;
  const logits = mixtures * (cells + 1);
  const second =
    nonlocal === undefined
      ? hidden * logits + logits
      : hidden * mixtures * (nonlocal.local + nonlocal.basis + 1) + nonlocal.basis * nonlocal.others + logits;
  return first + second + (odconv === undefined ? 0 : (hidden + 1) * (odconv.channel + odconv.filter + odconv.spatial));
}
