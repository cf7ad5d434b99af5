/**
 * ECA (Wang et al., CVPR 2020): every channel of a feature map is multiplied by a gate, which a short convolution over the channels
 * computes from their means.
 */
import type { Value } from '../graph/graph.js';
import { channels } from '../graph/operation.js';
import { globalAvgPool } from '../graph/ops/global_avg_pool.js';
import { reshape } from '../graph/ops/reshape.js';
import { sigmoid } from '../graph/ops/sigmoid.js';
import { convolve } from './convolution.js';
import { gateChannels } from './gates.js';
import { convolutionSpec, type LayerContext, type Recalibration } from './layer.js';

/** ECA's rule for the width of its kernel, for so many channels: t or t + 1, whichever is odd, with t = floor((log2 C + 1) / 2). */
export function ecaKernel(channelCount: number): number {
  const size = Math.floor((Math.log2(channelCount) + 1) / 2);
  return size % 2 === 1 ? size : size + 1;
}

/**
 * y [N, H, W, C] times sigmoid(r), where r[c] is the sum of w[j] mean(y)[c + j - (k - 1) / 2], with zeros beyond the channels;
 * `name.conv.weight` [1, 1, k].
 * @param kernelOf gives the kernel's width k, odd, for so many channels
 */
export function eca(kernelOf: (channelCount: number) => number): Recalibration {
  return (context: LayerContext, y: Value, name: string) => {
    const { graph } = context;
    return graph.labelled(name, () => {
      const [samples, channelCount] = [y.shape[0] as number, channels(y)];
      const kernel = kernelOf(channelCount);
      const weight = graph.parameter(`${name}.conv.weight`, [1, 1, kernel], {
        channelAxis: 1,
        initialization: { kind: 'uniform', bound: 1 / Math.sqrt(kernel) },
      });
      const shape = { kind: 'conv1d', inChannels: 1, outChannels: 1, kernel, padding: (kernel - 1) / 2 } as const;
      const means = reshape(globalAvgPool(y), [samples, channelCount, 1]);
      const logits = convolve(means, weight, undefined, convolutionSpec({ name: `${name}.conv`, ...shape }), false);
      return gateChannels(y, sigmoid(reshape(logits, [samples, channelCount])));
    });
  };
}
