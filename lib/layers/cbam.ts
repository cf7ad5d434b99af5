/**
 * CBAM (Woo et al., ECCV 2018): a feature map is multiplied by a gate for each channel, computed from means and maxima over positions, and
 * then by a gate for each position, computed from the mean and maximum over channels.
 */
import type { Value } from '../graph/graph.js';
import { channels } from '../graph/operation.js';
import { add } from '../graph/ops/add.js';
import { concat } from '../graph/ops/concat.js';
import { globalAvgPool } from '../graph/ops/global_avg_pool.js';
import { maxPool2d } from '../graph/ops/max_pool2d.js';
import { multiply } from '../graph/ops/multiply.js';
import { relu } from '../graph/ops/relu.js';
import { reshape } from '../graph/ops/reshape.js';
import { sigmoid } from '../graph/ops/sigmoid.js';
import { linearLayer, staticConvolution } from './convolution.js';
import { gateChannels } from './gates.js';
import { convolutionSpec, type LayerContext, type Recalibration } from './layer.js';
import { batchNormLayer } from './normalization.js';
import { squeezedWidth } from './squeezed_width.js';

export interface CbamOptions {
  /** Width of the hidden layer over that of the feature map, rounded down. */
  readonly reduction: number;
}

const spatialKernel = 7;
const spatialMomentum = 0.01;

/** y [N, H, W, C] with a gate for each channel. Means and maxima go through the same two linear layers. */
function gateByChannels(context: LayerContext, y: Value, name: string, reduction: number): Value {
  const [samples, height, width, channelCount] = y.shape as [number, number, number, number];
  const hiddenWidth = squeezedWidth(name, channelCount, reduction);
  const perceptron = (pooled: Value): Value => {
    const hidden = relu(linearLayer(context, pooled, `${name}.mlp.1`, hiddenWidth, { bias: 'zeros' }));
    return linearLayer(context, hidden, `${name}.mlp.3`, channelCount, { bias: 'zeros' });
  };
  const largest = reshape(maxPool2d(y, [height, width], [height, width], 0), [samples, channelCount]);
  return gateChannels(y, sigmoid(add(perceptron(globalAvgPool(y)), perceptron(largest))));
}

/** y [N, H, W, C] with a gate for each position. */
function gateByPositions(context: LayerContext, y: Value, name: string): Value {
  const [samples, height, width, channelCount] = y.shape as [number, number, number, number];
  const positions = height * width;
  const map = [samples, height, width, 1];
  const largest = maxPool2d(reshape(y, [samples, positions, channelCount, 1]), [1, channelCount], [1, channelCount], 0);
  const mean = globalAvgPool(reshape(y, [samples * positions, channelCount, 1]));
  const pooled = concat([reshape(largest, map), reshape(mean, map)]);
  const padding = (spatialKernel - 1) / 2;
  const spec = convolutionSpec({ name: `${name}.conv`, inChannels: channels(pooled), outChannels: 1, kernel: spatialKernel, padding });
  const logits = batchNormLayer(context, staticConvolution(context, pooled, spec), `${name}.bn`, { momentum: spatialMomentum, scale: 0 });
  return multiply(y, sigmoid(logits));
}

/**
 * y [N, H, W, C] with both gates; r is the reduction. `name.ChannelGate.mlp.1` (C to r C) and `name.ChannelGate.mlp.3` (back) have `.weight` and `.bias`;
 * `name.SpatialGate.spatial.conv.weight` [1, 2, 7, 7] reads maximum and mean, `name.SpatialGate.spatial.bn` starts with a scale of 0.
 */
export function cbam({ reduction }: CbamOptions): Recalibration {
  return (context, y, name) =>
    context.graph.labelled(name, () =>
      gateByPositions(context, gateByChannels(context, y, `${name}.ChannelGate`, reduction), `${name}.SpatialGate.spatial`),
    );
}
