/**
 * WeightNet (Ma et al., ECCV 2020) with M = G = 2: a sigmoid attention from the channel means of the input gives each output channel two
 * gates, one for each half of the elements of its kernel.
 */
import { KernelWarehouseError } from '../errors.js';
import type { Value } from '../graph/graph.js';
import { kaimingDeviation } from '../graph/initial_values.js';
import { channels, elements } from '../graph/operation.js';
import { add } from '../graph/ops/add.js';
import { addBias } from '../graph/ops/add_bias.js';
import { concat } from '../graph/ops/concat.js';
import { fill } from '../graph/ops/fill.js';
import { reshape } from '../graph/ops/reshape.js';
import { sigmoid } from '../graph/ops/sigmoid.js';
import { slice } from '../graph/ops/slice.js';
import { transpose } from '../graph/ops/transpose.js';
import { expectAdjustable } from './adjustable_convolution.js';
import { convolutionBias, convolve } from './convolution.js';
import { gateChannels } from './gates.js';
import type { ConvolutionFactory, ConvolutionSpec, LayerContext } from './layer.js';
import { pooledFeatures, pooledLinear } from './pooled_features.js';

export interface WeightNetOptions {
  /** The least hidden width of the attention; above it, a sixteenth of the input channels. */
  readonly floor: number;
}

/** Input channels for each hidden value. */
const reduction = 16;

/** `count` gates for each sample, [N, count]. */
function attention(context: LayerContext, x: Value, name: string, floor: number, count: number): Value {
  const hidden = Math.max(floor, Math.floor(channels(x) / reduction));
  const layer = (features: Value, suffix: string, outputs: number): Value => {
    const initialization = { kind: 'uniform', bound: 1 / Math.sqrt(channels(features)) } as const;
    return pooledLinear(context, features, `${name}.${suffix}`, outputs, { initialization, biasInitialization: initialization });
  };
  return sigmoid(layer(layer(pooledFeatures(x), 'reduce', hidden), 'wn_fc1', count));
}

/**
 * The first halves of all kernels, then the second halves, as one convolution with twice as many output channels. A half consists of whole
 * input channels, so there are two groups; if the number of channels is odd, each half is a whole kernel with zeros for the other half.
 * @param stored [elements, 1, 1, 1] in the order [O, C, ...kernel]
 */
function convolveHalves(x: Value, stored: Value, spec: ConvolutionSpec): Value {
  const { name, inChannels, outChannels } = spec;
  const positions = elements(spec.kernel);
  const size = inChannels * positions;
  if (size % 2 !== 0) {
    throw new KernelWarehouseError(
      'ERR_KW_UNSUPPORTED',
      `layer ${name}: WeightNet expects kernels of an even number of elements, but received ${inChannels} input channels ` +
        `times ${positions} positions; leave this layer static`,
    );
  }
  const isEven = inChannels % 2 === 0;
  const kernels = reshape(stored, [outChannels, size]);
  const halves = isEven
    ? kernels
    : concat([slice(kernels, 0, size / 2), fill(x.graph, [outChannels, size], 0), slice(kernels, size / 2, size)]);
  const channelsOfHalf = isEven ? inChannels / 2 : inChannels;
  const weight = transpose(reshape(halves, [outChannels, 2, channelsOfHalf, positions]), [1, 0, 3, 2]);
  return convolve(x, weight, undefined, { ...spec, outChannels: 2 * outChannels, groups: isEven ? 2 : 1 }, false);
}

/**
 * Adds the outputs of the first and the second halves, [N, ..., 2 O], after multiplying each channel by its gate in [N, 2 O] (the two gates
 * of a channel are adjacent).
 */
function gateHalves(halves: Value, gates: Value): Value {
  const [samples, count] = gates.shape as [number, number];
  const ordered = transpose(reshape(gates, [samples, count / 2, 2]), [0, 2, 1]);
  const gated = gateChannels(halves, reshape(ordered, [samples, count]));
  return add(slice(gated, 0, count / 2), slice(gated, count / 2, count));
}

/**
 * The convolution with kernel[o] = (a[2 o] times its first half, a[2 o + 1] times its second), elements counted as [C, ...kernel]. A
 * convolution is linear in its kernel, so the gates multiply the outputs of the halves, and no sample needs a kernel of its own. In a
 * depth-wise convolution, channel c has the single gate a[c]. With r = max(floor, C / 16): `name.reduce` (C to r) and `name.wn_fc1` (r to 2
 * O, depth-wise C) have `.weight` as 1x1 convolutions and `.bias`; `name.wn_fc2.weight` is [O C / groups times kernel, 1, 1, 1]; and there
 * is `name.bias` if the layer has a bias. Throws ERR_KW_UNSUPPORTED for groups that are not depth-wise, and for kernels with an odd number
 * of elements.
 */
export function weightNetConvolution({ floor }: WeightNetOptions): ConvolutionFactory {
  return (context, x, spec) => {
    expectAdjustable('WeightNet', spec, 'one group or depth-wise');
    const { name, inChannels, outChannels, groups, kernel } = spec;
    const { graph } = context;
    return graph.labelled(name, () => {
      const isDepthwise = groups > 1;
      const gates = attention(context, x, name, floor, isDepthwise ? outChannels : 2 * outChannels);
      const positions = elements(kernel);
      const stored = graph.parameter(`${name}.wn_fc2.weight`, [(outChannels * inChannels * positions) / groups, 1, 1, 1], {
        initialization: { kind: 'normal', deviation: kaimingDeviation((outChannels * positions) / groups) },
      });
      const y = isDepthwise
        ? gateChannels(convolve(x, stored, undefined, spec, false), gates)
        : gateHalves(convolveHalves(x, stored, spec), gates);
      const bias = convolutionBias(context, spec);
      return bias ? addBias(y, bias) : y;
    });
  };
}
