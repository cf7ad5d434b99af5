/** Convolutions of every kind as ops; the static convolution and the linear layer. */
import type { Initialization } from '../graph/declaration.js';
import type { Value } from '../graph/graph.js';
import { kaimingDeviation } from '../graph/initial_values.js';
import { channels, elements, expectRank } from '../graph/operation.js';
import { conv2d } from '../graph/ops/conv2d.js';
import { conv3d } from '../graph/ops/conv3d.js';
import { linear } from '../graph/ops/matmul.js';
import { reshape } from '../graph/ops/reshape.js';
import { samplewiseConv2d } from '../graph/ops/samplewise_conv2d.js';
import { samplewiseConv3d } from '../graph/ops/samplewise_conv3d.js';
import { type ConvolutionForm, grouped } from './grouped_convolution.js';
import type { ConvolutionFactory, ConvolutionSpec, LayerContext } from './layer.js';

/**
 * The convolution that `spec` describes, of x [N, ...sizes, C]. The weight has the elements of [O, ...kernel, C/groups] or, `samplewise`,
 * of [N, O, ...kernel, C/groups]. Returns [N, ...output sizes, O]. A linear layer takes x [N, ..., C]. A single spatial dimension is
 * computed as an image of height 1; so are the tokens of a linear layer.
 */
export function convolve(x: Value, weight: Value, bias: Value | undefined, spec: ConvolutionSpec, samplewise: boolean): Value {
  const { name, kind, kernel, stride, padding, dilation, groups } = spec;
  const samples = x.shape[0] as number;
  const shaped = (sizes: readonly number[]): Value =>
    reshape(weight, [...(samplewise ? [samples] : []), spec.outChannels, ...sizes, spec.inChannels / groups]);
  const options = { stride, padding, dilation, groups };
  const form = (one: ConvolutionForm, each: ConvolutionForm): ConvolutionForm => {
    if (!samplewise) return one;
    return spec.implementation === 'grouped' ? grouped(one) : each;
  };
  if (kind === 'conv3d') return form(conv3d, samplewiseConv3d)(x, shaped(kernel), bias, options);
  const planar = form(conv2d, samplewiseConv2d);
  if (kind === 'conv2d') return planar(x, shaped(kernel), bias, options);

  if (kind === 'conv1d') expectRank(name, 'x', x, 3, '[N, L, C]');
  const image = reshape(x, [samples, 1, elements(x.shape.slice(1, -1)), channels(x)]);
  const y = planar(image, shaped([1, ...kernel]), bias, {
    stride: [1, ...stride],
    padding: [0, ...padding],
    dilation: [1, ...dilation],
    groups,
  });
  return reshape(y, [...(kind === 'linear' ? x.shape.slice(0, -1) : [samples, y.shape[2] as number]), spec.outChannels]);
}

/** Initial values of the weight of a static layer: normal, or uniform for a linear layer, as in PyTorch. */
export function convolutionInitialization({ kind, deviation, inChannels, outChannels, kernel, groups }: ConvolutionSpec): Initialization {
  if (deviation !== undefined) return { kind: 'normal', deviation };
  if (kind === 'linear') return { kind: 'uniform', bound: 1 / Math.sqrt(inChannels) };
  return { kind: 'normal', deviation: kaimingDeviation((outChannels * elements(kernel)) / groups) };
}

/** `name.bias` [O], initially 0; undefined for a layer without a bias. */
export function convolutionBias({ graph }: LayerContext, { name, bias, outChannels }: ConvolutionSpec): Value | undefined {
  return bias ? graph.parameter(`${name}.bias`, [outChannels], { initialization: { kind: 'zeros' } }) : undefined;
}

/** A convolution with one weight for all samples: `name.weight` [O, C/groups, ...kernel] (linear: [O, C]), `name.bias` [O]. */
export const staticConvolution: ConvolutionFactory = (context, x, spec) =>
  context.graph.labelled(spec.name, () => {
    const { name, kernel, groups, outChannels } = spec;
    const given = spec.deviation === undefined ? {} : { deviation: spec.deviation };
    if (spec.kind === 'linear') return linearLayer(context, x, name, outChannels, { bias: spec.bias, ...given });
    const weight = context.graph.parameter(`${name}.weight`, [outChannels, spec.inChannels / groups, ...kernel], {
      channelAxis: 1,
      initialization: convolutionInitialization(spec),
    });
    return convolve(x, weight, convolutionBias(context, spec), spec, false);
  });

export interface LinearLayerOptions {
  /** Whether there is a bias; with `'zeros'` it starts at 0, however the weight starts. Default true. */
  readonly bias?: boolean | 'zeros';
  readonly deviation?: number;
}

/**
 * x [..., I] to [..., outFeatures] with `name.weight` [O, I] and `name.bias` [O]. They are initialized as in PyTorch's Linear or, if a
 * standard deviation is given, with a normal weight and a bias of 0.
 */
export function linearLayer(
  { graph }: Pick<LayerContext, 'graph'>,
  x: Value,
  name: string,
  outFeatures: number,
  options: LinearLayerOptions = {},
): Value {
  return graph.labelled(name, () => {
    const inFeatures = channels(x);
    const { deviation } = options;
    const uniform = { kind: 'uniform', bound: 1 / Math.sqrt(inFeatures) } as const;
    const initialization = deviation === undefined ? uniform : ({ kind: 'normal', deviation } as const);
    const weight = graph.parameter(`${name}.weight`, [outFeatures, inFeatures], { initialization });
    const startsAtZero = options.bias === 'zeros' || deviation !== undefined;
    const biasInitialization = startsAtZero ? ({ kind: 'zeros' } as const) : uniform;
    const bias =
      options.bias === false ? undefined : graph.parameter(`${name}.bias`, [outFeatures], { initialization: biasInitialization });
    return linear(x, weight, bias);
  });
}
