/**
 * KW* (paper, appendix A.4 and table 17): ODConv's attentions along input channels, filters and kernel positions join KernelWarehouse's
 * along cells, y = filter * conv(channel * x; spatial * kernel). All come from the hidden values of one attention.
 */
import type { Value } from '../graph/graph.js';
import { fill } from '../graph/ops/fill.js';
import { matmul } from '../graph/ops/matmul.js';
import { multiply } from '../graph/ops/multiply.js';
import { reshape } from '../graph/ops/reshape.js';
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

/** x [N, ..., C] with each channel times its gate of [N, C]. */
export function gateChannels(x: Value, gate: Value): Value {
  const [samples = 1, ...rest] = x.shape;
  return multiply(x, reshape(gate, [samples, ...rest.slice(1).map(() => 1), rest.at(-1) as number]));
}

/** Attention [N, m, n] with the mixtures of each kernel position times its gate of [N, positions]; for cells of one position. */
export function gateMixtures(attention: Value, gate: Value): Value {
  const [samples, positions] = gate.shape as [number, number];
  const [, mixtures, cells] = attention.shape as [number, number, number];
  const grouped = reshape(attention, [samples, positions, (mixtures / positions) * cells]);
  return reshape(multiply(grouped, reshape(gate, [samples, positions, 1])), attention.shape);
}

/** Assembled weights [N, O, ...kernel, I] with each kernel position times its gate of [N, positions]. */
export function gateWeight(weight: Value, gate: Value): Value {
  const [samples = 1, ...rest] = weight.shape;
  return multiply(weight, reshape(gate, [samples, 1, ...rest.slice(1, -1), 1]));
}
