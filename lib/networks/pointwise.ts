/** Layers that act on each position alone, as in the perceptrons of ConvNeXt and DeiT. */
import type { Value } from '../graph/graph.js';
import { channels } from '../graph/operation.js';
import { reshape } from '../graph/ops/reshape.js';
import { type ConvolutionFactory, convolutionSpec, type LayerContext, type TensorNaming } from '../layers/layer.js';

interface PointwiseShape {
  readonly name: string;
  readonly outChannels: number;
  readonly sharingName: string;
  /** Standard deviation of a static weight's initial values. */
  readonly deviation: number;
}

/**
 * x [N, ..., C] to [N, ..., outChannels], with bias. It is a linear layer in the static networks and a 1x1 convolution in their
 * KernelWarehouse variants. The two differ in the shape of their weight: [O, I] and [O, I, 1, 1].
 */
export function pointwise(
  context: LayerContext,
  x: Value,
  convolution: ConvolutionFactory,
  naming: TensorNaming,
  { name, outChannels, sharingName, deviation }: PointwiseShape,
): Value {
  const spec = { name, inChannels: channels(x), outChannels, bias: true, sharingName, deviation };
  if (naming === 'static') return convolution(context, x, convolutionSpec({ ...spec, kind: 'linear' }));
  if (x.shape.length === 4) return convolution(context, x, convolutionSpec(spec));
  const positions = x.shape.slice(1, -1).reduce((product, size) => product * size, 1);
  const y = convolution(context, reshape(x, [x.shape[0] as number, 1, positions, channels(x)]), convolutionSpec(spec));
  return reshape(y, [...x.shape.slice(0, -1), outChannels]);
}
