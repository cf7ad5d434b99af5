/**
 * CondConv (Yang et al., 2019): the kernel of each sample is a mixture of experts. Their weights are sigmoids of one linear layer on the
 * pooled input.
 */
import type { Value } from '../graph/graph.js';
import { reshape } from '../graph/ops/reshape.js';
import { sigmoid } from '../graph/ops/sigmoid.js';
import { convolutionBias, convolutionInitialization, convolve, linearLayer } from './convolution.js';
import type { ConvolutionFactory, LayerContext } from './layer.js';
import { cellsOf, mixWeight } from './mixing.js';
import { pooledFeatures } from './pooled_features.js';
import { kernelParameter } from './stored_kernels.js';

export interface CondconvOptions {
  /** Experts, from 1. */
  readonly kernels: number;
}

/** The route (weights of the experts) [N, 1, K] of x [N, ..., C], with `name.fc.weight` [K, C] and `name.fc.bias` [K]. */
function route(context: LayerContext, x: Value, name: string, experts: number): Value {
  return context.graph.labelled(name, () => {
    const gates = sigmoid(linearLayer(context, pooledFeatures(x), `${name}.fc`, experts));
    return reshape(gates, [x.shape[0] as number, 1, experts]);
  });
}

/**
 * A factory of layers with experts `name.weight` [K, O, C/groups, ...kernel], for a linear layer [K, O, C]. The convolutions of a residual
 * block share one route, computed from the block's input: `<block>.route.fc.*`. Other layers have a route of their own input:
 * `name.route.fc.*`.
 */
export function condconvConvolution({ kernels }: CondconvOptions): ConvolutionFactory {
  /** By the input of the block, which differs between graphs. */
  const routes = new WeakMap<Value, Value>();
  return (context, x, spec) => {
    const source = spec.block ?? { name: spec.name, input: x };
    const known = spec.block && routes.get(spec.block.input);
    const attention = known ?? route(context, source.input, `${source.name}.route`, kernels);
    if (spec.block) routes.set(spec.block.input, attention);
    return context.graph.labelled(spec.name, () => {
      const experts = cellsOf(kernelParameter(context, spec, kernels, convolutionInitialization(spec)));
      return convolve(x, mixWeight(attention, experts, spec), convolutionBias(context, spec), spec, true);
    });
  };
}
