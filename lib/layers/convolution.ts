/** The static convolution and the linear layer. */
import type { Value } from '../graph/graph.js';
import { channels } from '../graph/operation.js';
import { conv2d } from '../graph/ops/conv2d.js';
import { linear } from '../graph/ops/matmul.js';
import type { ConvolutionFactory, LayerContext } from './layer.js';

/** Kaiming normal, fan out, for a ReLU. */
export function kaimingDeviation(fanOut: number): number {
  return Math.sqrt(2 / fanOut);
}

/** A convolution with one weight for all samples: `name.weight` [O, C/groups, k, k], `name.bias` [O]. */
export const staticConvolution: ConvolutionFactory = ({ graph }, x, spec) =>
  graph.labelled(spec.name, () => {
    const { name, kernel, stride, padding, dilation, groups, outChannels } = spec;
    const given = spec.deviation === undefined ? {} : { deviation: spec.deviation };
    if (spec.kind === 'linear') return linearLayer({ graph }, x, name, outChannels, { bias: spec.bias, ...given });
    const fanOut = (outChannels * kernel * kernel) / groups;
    const weight = graph.parameter(`${name}.weight`, [outChannels, spec.inChannels / groups, kernel, kernel], {
      channelAxis: 1,
      initialization: { kind: 'normal', deviation: spec.deviation ?? kaimingDeviation(fanOut) },
    });
    const bias = spec.bias ? graph.parameter(`${name}.bias`, [outChannels], { initialization: { kind: 'zeros' } }) : undefined;
    return conv2d(x, weight, bias, { stride, padding, dilation, groups });
  });

/**
 * x [..., I] to [..., outFeatures] with `name.weight` [O, I] and `name.bias` [O], initialised as PyTorch's Linear, or with a normal weight of
 * the given standard deviation and a bias of 0.
 */
export function linearLayer(
  { graph }: Pick<LayerContext, 'graph'>,
  x: Value,
  name: string,
  outFeatures: number,
  options: { readonly bias?: boolean; readonly deviation?: number } = {},
): Value {
  return graph.labelled(name, () => {
    const inFeatures = channels(x);
    const { deviation } = options;
    const uniform = { kind: 'uniform', bound: 1 / Math.sqrt(inFeatures) } as const;
    const initialization = deviation === undefined ? uniform : ({ kind: 'normal', deviation } as const);
    const weight = graph.parameter(`${name}.weight`, [outFeatures, inFeatures], { initialization });
    const biasInitialization = deviation === undefined ? uniform : ({ kind: 'zeros' } as const);
    const bias =
      options.bias === false ? undefined : graph.parameter(`${name}.bias`, [outFeatures], { initialization: biasInitialization });
    return linear(x, weight, bias);
  });
}
