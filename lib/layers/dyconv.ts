/** DY-Conv (Chen et al., 2020): the kernel of each sample is a mixture of K kernels, by an attention from the pooled input. */
import type { Value } from '../graph/graph.js';
import { kaimingDeviation } from '../graph/initial_values.js';
import { relu } from '../graph/ops/relu.js';
import { convolutionBias, convolve } from './convolution.js';
import { type KernelAttention, kernelAttention } from './kernel_attention.js';
import type { ConvolutionFactory, LayerContext } from './layer.js';
import { cellsOf, mixWeight } from './mixing.js';
import { pooledFeatures, pooledLinear } from './pooled_features.js';
import { kernelParameter } from './stored_kernels.js';

export interface DyconvOptions {
  /** K, from 1. */
  readonly kernels: number;
  readonly attention: KernelAttention;
  /** Hidden width of the attention over input channels, rounded down; at least one. */
  readonly reduction: number;
}

/** Logits [N, K] from the pooled input: linear, ReLU, linear. */
function kernelLogits(context: LayerContext, x: Value, name: string, { kernels, reduction }: DyconvOptions): Value {
  const pooled = pooledFeatures(x);
  const hidden = Math.max(Math.floor((pooled.shape[1] as number) * reduction), 1);
  return pooledLinear(context, relu(pooledLinear(context, pooled, `${name}.fc1`, hidden)), `${name}.fc2`, kernels);
}

/** A factory of layers with `name.weight` [K, O, C/groups, ...kernel], `name.attention.fc1.*` and `name.attention.fc2.*`. */
export function dyconvConvolution(options: DyconvOptions): ConvolutionFactory {
  return (context, x, spec) =>
    context.graph.labelled(spec.name, () => {
      const { outChannels, kernel } = spec;
      const deviation = kaimingDeviation(kernel.reduce((product, size) => product * size, outChannels));
      const kernels = kernelParameter(context, spec, options.kernels, { kind: 'normal', deviation });
      const attention = kernelAttention(kernelLogits(context, x, `${spec.name}.attention`, options), options.attention);
      return convolve(x, mixWeight(attention, cellsOf(kernels), spec), convolutionBias(context, spec), spec, true);
    });
}
