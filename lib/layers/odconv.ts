/**
 * ODConv (Li et al., 2022): an attention for K kernels, and gates for input channels, filters and kernel positions: y = filter *
 * conv(channel * x; spatial * Σ attention W). All of them come from one hidden vector.
 */
import type { Value } from '../graph/graph.js';
import { kaimingDeviation } from '../graph/initial_values.js';
import { channels, elements } from '../graph/operation.js';
import { addBias } from '../graph/ops/add_bias.js';
import { attentionFunction } from '../graph/ops/attention_function.js';
import { fill } from '../graph/ops/fill.js';
import { multiply } from '../graph/ops/multiply.js';
import { relu } from '../graph/ops/relu.js';
import { reshape } from '../graph/ops/reshape.js';
import { hiddenWidth } from '../warehouse/index.js';
import { convolutionBias, convolve } from './convolution.js';
import { gateChannels } from './gates.js';
import { type KernelAttention, kernelAttention } from './kernel_attention.js';
import type { ConvolutionFactory, ConvolutionSpec, LayerContext } from './layer.js';
import { cellsOf, mixWeight, spreadOverCells } from './mixing.js';
import { batchNormLayer } from './normalization.js';
import { pooledFeatures, pooledLinear } from './pooled_features.js';
import { kernelParameter, kernelPositions } from './stored_kernels.js';

export interface OdconvOptions {
  /** K, from 1; a single kernel has no attention. */
  readonly kernels: number;
  readonly attention: KernelAttention;
  /** Hidden width over input channels, rounded down; at least 16. */
  readonly reduction: number;
}

/** Sigmoids [N, count] of a linear layer's outputs over T. */
function gate(context: LayerContext, hidden: Value, name: string, count: number): Value {
  const { graph } = hidden;
  const samples = hidden.shape[0] as number;
  const logits = reshape(pooledLinear(context, hidden, name, count), [samples, 1, count]);
  const gates = attentionFunction(logits, graph.control('temperature'), {
    function: 'sigmoid',
    assignment: [],
    zeroCell: false,
    softmaxTemperature: graph.control('softmaxTemperature'),
  });
  return reshape(gates, [samples, count]);
}

/** The hidden vector v from the pooled input: linear, BatchNorm, ReLU. */
function hiddenVector(context: LayerContext, x: Value, name: string, reduction: number): Value {
  const width = hiddenWidth(channels(x), reduction);
  return relu(batchNormLayer(context, pooledLinear(context, pooledFeatures(x), `${name}.fc`, width, { bias: false }), `${name}.bn`));
}

/** Attention for K kernels, [N, 1, K]; for a single one, which has no attention, all ones. */
function attentionOfKernels(context: LayerContext, hidden: Value, name: string, { kernels, attention }: OdconvOptions): Value {
  if (kernels === 1) return fill(hidden.graph, [hidden.shape[0] as number, 1, 1], 1);
  return kernelAttention(pooledLinear(context, hidden, `${name}.kernel_fc`, kernels), attention);
}

/**
 * The weight of each sample, [N, O, kh, kw, C/groups]. A kernel of several positions is mixed position by position, from cells that are
 * positions of kernels. The spatial gates are then factors of attentions, which avoids a pass over all weights that training would have to
 * keep.
 */
function gatedWeight(context: LayerContext, hidden: Value, spec: ConvolutionSpec, name: string, options: OdconvOptions): Value {
  const { graph } = context;
  const { kernels } = options;
  const positions = elements(spec.kernel);
  const initialization = { kind: 'normal', deviation: kaimingDeviation(spec.outChannels * positions) } as const;
  const attention = attentionOfKernels(context, hidden, name, options);
  if (positions === 1) return mixWeight(attention, cellsOf(kernelParameter(context, spec, kernels, initialization)), spec);
  const samples = hidden.shape[0] as number;
  const spatial = reshape(gate(context, hidden, `${name}.spatial_fc`, positions), [samples, positions, 1]);
  const own = multiply(multiply(fill(graph, [samples, positions, kernels], 1), attention), spatial);
  const cells = cellsOf(kernelPositions(context, spec, kernels, initialization));
  return mixWeight(spreadOverCells(own, 0, positions * kernels), cells, spec);
}

/**
 * A factory of layers with `name.weight` [K, O, C/groups, ...kernel], `name.attention.fc.weight`, `name.attention.bn.*` and
 * `name.attention.<channel|filter|spatial|kernel>_fc.*`. There are no filter gates in a depth-wise convolution and no spatial gates in a
 * kernel of one position.
 */
export function odconvConvolution(options: OdconvOptions): ConvolutionFactory {
  return (context, x, spec) =>
    context.graph.labelled(spec.name, () => {
      const { inChannels, outChannels, groups } = spec;
      const name = `${spec.name}.attention`;
      const hidden = hiddenVector(context, x, name, options.reduction);
      const gated = gateChannels(x, gate(context, hidden, `${name}.channel_fc`, inChannels));
      const y = convolve(gated, gatedWeight(context, hidden, spec, name, options), undefined, spec, true);
      const isDepthwise = groups === inChannels && groups === outChannels;
      const filtered = isDepthwise ? y : gateChannels(y, gate(context, hidden, `${name}.filter_fc`, outChannels));
      const bias = convolutionBias(context, spec);
      return bias ? addBias(filtered, bias) : filtered;
    });
}
