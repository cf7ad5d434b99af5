/**
 * KW* (paper, appendix A.4 and Table 17): ODConv's attentions for input channels, filters and kernel positions join KernelWarehouse's for
 * cells: y = filter * conv(channel * x; spatial * kernel). All come from the hidden values of one attention module.
 */
import type { Value } from '../graph/graph.js';
import { fill } from '../graph/ops/fill.js';
import { matmul } from '../graph/ops/matmul.js';
import { multiply } from '../graph/ops/multiply.js';
import { sigmoid } from '../graph/ops/sigmoid.js';
import type { OdconvAttentions } from '../warehouse/index.js';

/** Gates between 0 and 1. */
export interface OdconvGates {
  /** [N, C] */
  readonly channel: Value;
  /** [N, O] */
  readonly filter: Value;
  /** [N, positions]; absent for a kernel of one position. */
  readonly spatial?: Value;
}

/**
 * @param hidden the attention's hidden values [N, h]
 * @param tensor a tensor of the attention by its suffix, such as `channel_fc.weight`
 */
export function odconvGates(hidden: Value, { spatial, temperature }: OdconvAttentions, tensor: (suffix: string) => Value): OdconvGates {
  const gate = (name: string): Value => {
    const logits = matmul(hidden, tensor(`${name}.weight`), { transposeB: true }, tensor(`${name}.bias`));
    return sigmoid(temperature === 1 ? logits : multiply(logits, fill(logits.graph, [1, 1], 1 / temperature)));
  };
  return { channel: gate('channel_fc'), filter: gate('filter_fc'), ...(spatial > 0 ? { spatial: gate('spatial_fc') } : {}) };
}
