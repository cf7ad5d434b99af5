/**
 * SE (Hu et al., CVPR 2018): every channel of a feature map is multiplied by a gate, which two linear layers compute from the means of all
 * channels.
 */
import type { Value } from '../graph/graph.js';
import { channels } from '../graph/operation.js';
import { globalAvgPool } from '../graph/ops/global_avg_pool.js';
import { relu } from '../graph/ops/relu.js';
import { sigmoid } from '../graph/ops/sigmoid.js';
import { linearLayer } from './convolution.js';
import { gateChannels } from './gates.js';
import type { LayerContext, Recalibration } from './layer.js';
import { squeezedWidth } from './squeezed_width.js';

export interface SqueezeExcitationOptions {
  /** Width of the hidden layer over that of the feature map, rounded down. */
  readonly reduction: number;
  /** Whether the linear layers have biases. */
  readonly bias: boolean;
}

/**
 * y [N, H, W, C] times sigmoid(W2 relu(W1 mean(y))), with r the reduction, `name.fc.0.weight` [r C, C], `name.fc.2.weight` [C, r C] and, with
 * `bias`, `name.fc.0.bias` and `name.fc.2.bias`.
 */
export function squeezeExcitation({ reduction, bias }: SqueezeExcitationOptions): Recalibration {
  return (context: LayerContext, y: Value, name: string) =>
    context.graph.labelled(name, () => {
      const hidden = linearLayer(context, globalAvgPool(y), `${name}.fc.0`, squeezedWidth(name, channels(y), reduction), { bias });
      const gate = sigmoid(linearLayer(context, relu(hidden), `${name}.fc.2`, channels(y), { bias }));
      return gateChannels(y, gate);
    });
}
