/**
 * A weight for each sample, applied by one static convolution: the batch is folded into its groups, as in public PyTorch code of dynamic
 * convolutions.
 */
import type { Value } from '../graph/graph.js';
import { channels } from '../graph/operation.js';
import { addBias } from '../graph/ops/add_bias.js';
import type { ConvolutionOptions } from '../graph/ops/convolution.js';
import { reshape } from '../graph/ops/reshape.js';
import { transpose } from '../graph/ops/transpose.js';

/** A convolution of x [N, ...sizes, C] with one weight for all samples or, if so stated, one for each. */
export type ConvolutionForm = (x: Value, weight: Value, bias?: Value, options?: ConvolutionOptions) => Value;

/**
 * Turns a static convolution into one of x [N, ...sizes, C] with weight [N, O, ...kernel, C/groups] and optional bias [O]: it convolves [1,
 * ...sizes, N*C] with [N*O, ...kernel, C/groups] in N*groups groups. The result is [N, ...output sizes, O].
 */
export function grouped(convolution: ConvolutionForm): ConvolutionForm {
  return (x, weight, bias, options = {}) => {
    const [samples = 1, ...rest] = x.shape;
    const [, outChannels = 1, ...kernel] = weight.shape;
    const sizes = rest.slice(0, -1);
    const axes = sizes.map((_, axis) => axis);
    const last = sizes.length + 1;
    const sideBySide = transpose(x, [...axes.map((axis) => axis + 1), 0, last]);
    const folded = reshape(sideBySide, [1, ...sizes, samples * channels(x)]);
    const y = convolution(folded, reshape(weight, [samples * outChannels, ...kernel]), undefined, {
      ...options,
      groups: samples * (options.groups ?? 1),
    });
    const apart = transpose(reshape(y, [...y.shape.slice(1, -1), samples, outChannels]), [sizes.length, ...axes, last]);
    return bias ? addBias(apart, bias) : apart;
  };
}
