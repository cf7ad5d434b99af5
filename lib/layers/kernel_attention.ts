/** Attentions for the kernels that a layer mixes: those of DY-Conv and ODConv, or KernelWarehouse's function (paper, Table 10). */
import type { Value } from '../graph/graph.js';
import { channels } from '../graph/operation.js';
import { attentionFunction } from '../graph/ops/attention_function.js';
import { reshape } from '../graph/ops/reshape.js';

export type KernelAttention = 'softmax' | 'contrasting';

/**
 * Attention [N, 1, K] of logits z [N, K]: softmax(z / T), or τ β + (1 - τ) z / (Σ|z| + 0.001), where β is 1 for the first kernel alone. The
 * paper gives no formula for the latter; it is KernelWarehouse's for a single mixture, without the zero cell.
 */
export function kernelAttention(logits: Value, name: KernelAttention): Value {
  const { graph } = logits;
  const row = reshape(logits, [logits.shape[0] as number, 1, channels(logits)]);
  const temperature = graph.control('temperature');
  return name === 'contrasting'
    ? attentionFunction(row, temperature, { function: 'contrasting', assignment: [[0]], zeroCell: false })
    : attentionFunction(row, temperature, {
        function: 'softmax',
        assignment: [],
        zeroCell: false,
        softmaxTemperature: graph.control('softmaxTemperature'),
      });
}
