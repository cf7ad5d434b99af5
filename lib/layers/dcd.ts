/**
 * DCD, dynamic channel decomposition (Li et al., ICLR 2021): a static convolution whose output channels are scaled, plus a residual through
 * a few latent channels, which a matrix computed from each sample mixes.
 */
import { KernelWarehouseError } from '../errors.js';
import type { Value } from '../graph/graph.js';
import { channels, expectRank } from '../graph/operation.js';
import { adaptiveAvgPool2d } from '../graph/ops/adaptive_avg_pool2d.js';
import { add } from '../graph/ops/add.js';
import { addBias } from '../graph/ops/add_bias.js';
import { fill } from '../graph/ops/fill.js';
import { multiply } from '../graph/ops/multiply.js';
import { relu6 } from '../graph/ops/relu6.js';
import { reshape } from '../graph/ops/reshape.js';
import { transpose } from '../graph/ops/transpose.js';
import { expectAdjustable } from './adjustable_convolution.js';
import { convolutionBias, convolve, linearLayer, staticConvolution } from './convolution.js';
import { gateChannels } from './gates.js';
import { type ConvolutionFactory, type ConvolutionSpec, convolutionSpec, type LayerContext } from './layer.js';
import { batchNormLayer } from './normalization.js';

/** The generator sees the means of 2 x 2 windows. */
const windows = 2;
/** Generator inputs for each of its hidden values, and the fewest hidden values. */
const reduction = 16;
const leastHidden = 4;
/** Latent and hidden channels of the classifier. */
const classifierWidth = 32;

/** min(max(x + 3, 0), 6) / 3 of x [N, C]: the hard sigmoid between 0 and 2. */
function hardSigmoid(x: Value): Value {
  const { graph } = x;
  return multiply(relu6(addBias(x, fill(graph, [channels(x)], 3))), fill(graph, [1, 1], 1 / 3));
}

interface Widths {
  /** L: channels of the residual. */
  readonly latent: number;
  /** q: hidden values of the generator. */
  readonly hidden: number;
}

interface Generated {
  /** The matrix of the latent channels, [N, L, L]. */
  readonly phi: Value;
  /** Factors of the output channels, [N, O]. */
  readonly scale: Value;
}

function generate(context: LayerContext, features: Value, name: string, { latent, hidden }: Widths, outChannels: number): Generated {
  const layer = (x: Value, suffix: string, width: number) => linearLayer(context, x, `${name}.${suffix}`, width, { bias: false });
  const squeezed = layer(features, 'fc.0', hidden);
  const gated = multiply(squeezed, hardSigmoid(layer(squeezed, 'fc.1.fc.0', hidden)));
  return {
    phi: reshape(layer(gated, 'fc_phi', latent * latent), [features.shape[0] as number, latent, latent]),
    scale: hardSigmoid(layer(gated, 'fc_scale', outChannels)),
  };
}

/** BN2(phi u) + u for latent channels u [N, ..., L]. */
function mixLatent(context: LayerContext, u: Value, phi: Value, name: string): Value {
  const latent = channels(u);
  const kind = u.shape.length === 2 ? 'linear' : 'conv2d';
  const mixed = convolve(u, phi, undefined, convolutionSpec({ name, kind, inChannels: latent, outChannels: latent }), true);
  return add(batchNormLayer(context, mixed, `${name}.bn2`), u);
}

/** Means of the windows of x [N, H, W, C], channel by channel: [N, C * windows * windows]. */
function windowMeans(x: Value): Value {
  const [samples, count] = [x.shape[0] as number, windows * windows];
  const pooled = reshape(adaptiveAvgPool2d(x, [windows, windows]), [samples, count, channels(x)]);
  return reshape(transpose(pooled, [0, 2, 1]), [samples, channels(x) * count]);
}

/**
 * The 1x1 convolution of the residual has the stride of the static one, but not its kernel and padding, so the output sizes agree only
 * under this condition.
 */
function expectSameSize({ name, kernel, padding, dilation }: ConvolutionSpec): void {
  if (kernel.every((size, axis) => 2 * (padding[axis] as number) === (dilation[axis] as number) * (size - 1))) return;
  throw new KernelWarehouseError(
    'ERR_KW_UNSUPPORTED',
    `layer ${name}: DCD expects padding that keeps the image's size, dilation * (kernel - 1) / 2, but received a kernel of ` +
      `${kernel.join('x')} with padding ${padding.join('x')} and dilation ${dilation.join('x')}; leave this layer static`,
  );
}

/**
 * y = scale conv(x) + P (BN2(phi u) + u), u = BN1(Q x). With L = floor(sqrt(4 C)) latent and q = max(4, floor(max(4 C, L L) / 16)) hidden
 * channels: `name.conv.weight` [O, C, ...kernel], `name.q.weight` [L, C, 1, 1], `name.p.weight` [O, L, 1, 1], norms `name.bn1` and `name.bn2`
 * of L channels, without biases `name.fc.0` (4 C to q), `name.fc.1.fc.0` (q to q), `name.fc_phi` (q to L L), `name.fc_scale` (q to O), and
 * `name.bias` where the layer has one. Throws ERR_KW_UNSUPPORTED for groups and padding that changes the image's size.
 */
export const dcdConvolution: ConvolutionFactory = (context, x, spec) => {
  expectAdjustable('DCD', spec, 'one group');
  expectSameSize(spec);
  const { name, inChannels, outChannels, kernel, stride } = spec;
  return context.graph.labelled(name, () => {
    const features = windows * windows * inChannels;
    const latent = Math.floor(Math.sqrt(features));
    const hidden = Math.max(leastHidden, Math.floor(Math.max(features, latent * latent) / reduction));
    const { phi, scale } = generate(context, windowMeans(x), name, { latent, hidden }, outChannels);
    const part = (suffix: string, from: Value, shape: Partial<ConvolutionSpec>): Value => {
      const own = convolutionSpec({ name: `${name}.${suffix}`, inChannels: channels(from), outChannels, ...shape });
      return staticConvolution(context, from, own);
    };
    const scaled = gateChannels(part('conv', x, { kernel, stride, padding: spec.padding, dilation: spec.dilation }), scale);
    const u = batchNormLayer(context, part('q', x, { outChannels: latent, stride }), `${name}.bn1`);
    const y = add(scaled, part('p', mixLatent(context, u, phi, name), {}));
    const bias = convolutionBias(context, spec);
    return bias ? addBias(y, bias) : y;
  });
};

/**
 * The same for the features x [N, C] of a classifier, with 32 latent and hidden channels and the features themselves as the generator's
 * input: `name.cls.weight` [O, C] with `name.cls.bias`, `name.cls_q.weight` [32, C], `name.cls_p.weight` [O, 32], and the norms and
 * generator of `dcdConvolution`.
 */
export const dcdClassifier: ConvolutionFactory = (context, x, { name, outChannels }) => {
  expectRank(name, 'x', x, 2, '[N, C]');
  return context.graph.labelled(name, () => {
    const { phi, scale } = generate(context, x, name, { latent: classifierWidth, hidden: classifierWidth }, outChannels);
    const scaled = gateChannels(linearLayer(context, x, `${name}.cls`, outChannels), scale);
    const squeezed = linearLayer(context, x, `${name}.cls_q`, classifierWidth, { bias: false });
    const latent = mixLatent(context, batchNormLayer(context, squeezed, `${name}.bn1`), phi, name);
    return add(scaled, linearLayer(context, latent, `${name}.cls_p`, outChannels, { bias: false }));
  });
};
