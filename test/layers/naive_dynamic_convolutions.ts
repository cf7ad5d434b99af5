/** DY-Conv, ODConv and CondConv by their formulas, sample by sample in PyTorch's order; shares nothing with the layers but the names. */
import type { ConvolutionSpec } from '../../lib/layers/layer.js';
import { elementCount, type Tensor, zeros } from '../reference/tensor.js';
import { naiveConvolution } from './naive_convolution.js';

/** A stored tensor by what follows the layer's name. */
export type Stored = (suffix: string) => Tensor;

export interface Temperatures {
  readonly temperature: number;
  readonly softmaxTemperature: number;
}

const sigmoid = (value: number) => 1 / (1 + Math.exp(-value));
const relu = (value: number) => Math.max(value, 0);

/** Sample `index` of x [N, ...] as [1, ...]. */
function sampleOf(x: Tensor, index: number): Tensor {
  const shape = [1, ...x.shape.slice(1)];
  const size = elementCount(shape);
  return { shape, data: x.data.slice(index * size, (index + 1) * size) };
}

/** Means of x [1, C, ...] over positions. */
function means(x: Tensor): number[] {
  const channels = x.shape[1]!;
  const positions = x.data.length / channels;
  return Array.from(
    { length: channels },
    (_, c) => x.data.slice(c * positions, (c + 1) * positions).reduce((a, b) => a + b, 0) / positions,
  );
}

function fullyConnected(x: readonly number[], weight: Tensor, bias?: Tensor): number[] {
  const inputs = x.length;
  return Array.from({ length: weight.shape[0]! }, (_, o) =>
    x.reduce((sum, value, i) => sum + value * weight.data[o * inputs + i]!, bias?.data[o] ?? 0),
  );
}

function attentions(
  logits: readonly number[],
  name: 'softmax' | 'contrasting',
  { temperature, softmaxTemperature }: Temperatures,
): number[] {
  if (name === 'contrasting') {
    const sum = logits.reduce((total, z) => total + Math.abs(z), 0.001);
    return logits.map((z, k) => temperature * (k === 0 ? 1 : 0) + ((1 - temperature) * z) / sum);
  }
  const powers = logits.map((z) => Math.exp(z / softmaxTemperature));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

/** Σ a_k W_k of kernels [K, ...], each element times `factor` of its place in a kernel. */
function mixture(kernels: Tensor, weights: readonly number[], factor: (place: number) => number = () => 1): Tensor {
  const mixed = zeros(kernels.shape.slice(1));
  const size = mixed.data.length;
  return { ...mixed, data: mixed.data.map((_, i) => factor(i) * weights.reduce((sum, a, k) => sum + a * kernels.data[k * size + i]!, 0)) };
}

function timesChannels(x: Tensor, factors: readonly number[]): Tensor {
  const positions = x.data.length / x.shape[1]!;
  return { ...x, data: x.data.map((value, i) => value * factors[Math.floor(i / positions)]!) };
}

/** Each sample by itself, joined. */
function bySample(x: Tensor, layer: (sample: Tensor) => Tensor): Tensor {
  const ys = Array.from({ length: x.shape[0]! }, (_, n) => layer(sampleOf(x, n)));
  return { shape: [ys.length, ...ys[0]!.shape.slice(1)], data: Float64Array.from(ys.flatMap(({ data }) => [...data])) };
}

export function naiveDyconv(
  x: Tensor,
  spec: ConvolutionSpec,
  stored: Stored,
  attention: 'softmax' | 'contrasting',
  at: Temperatures,
): Tensor {
  return bySample(x, (sample) => {
    const hidden = fullyConnected(means(sample), stored('attention.fc1.weight'), stored('attention.fc1.bias')).map(relu);
    const logits = fullyConnected(hidden, stored('attention.fc2.weight'), stored('attention.fc2.bias'));
    const weight = mixture(stored('weight'), attentions(logits, attention, at));
    return naiveConvolution(sample, weight, spec.bias ? stored('bias').data : new Float64Array(spec.outChannels), spec);
  });
}

/** With the running statistics. */
export function naiveOdconv(
  x: Tensor,
  spec: ConvolutionSpec,
  stored: Stored,
  { kernels, attention }: { readonly kernels: number; readonly attention: 'softmax' | 'contrasting' },
  at: Temperatures,
): Tensor {
  return bySample(x, (sample) => {
    const norm = (suffix: string) => stored(`attention.bn.${suffix}`).data;
    const hidden = fullyConnected(means(sample), stored('attention.fc.weight')).map((value, h) =>
      relu(((value - norm('running_mean')[h]!) / Math.sqrt(norm('running_var')[h]! + 1e-5)) * norm('weight')[h]! + norm('bias')[h]!),
    );
    const logits = (head: string) => fullyConnected(hidden, stored(`attention.${head}_fc.weight`), stored(`attention.${head}_fc.bias`));
    const gates = (head: string) => logits(head).map((value) => sigmoid(value / at.softmaxTemperature));
    const positions = elementCount(spec.kernel);
    const spatial = positions > 1 ? gates('spatial') : [1];
    const alpha = kernels > 1 ? attentions(logits('kernel'), attention, at) : [1];
    const weight = mixture(stored('weight'), alpha, (place) => spatial[place % positions]!);
    const gated = timesChannels(sample, gates('channel'));
    const y = naiveConvolution(gated, weight, new Float64Array(spec.outChannels), spec);
    const isDepthwise = spec.groups === spec.inChannels && spec.groups === spec.outChannels;
    return isDepthwise ? y : timesChannels(y, gates('filter'));
  });
}

export function naiveCondconv(x: Tensor, spec: ConvolutionSpec, stored: Stored): Tensor {
  return bySample(x, (sample) => {
    const route = fullyConnected(means(sample), stored('route.fc.weight'), stored('route.fc.bias')).map(sigmoid);
    return naiveConvolution(sample, mixture(stored('weight'), route), new Float64Array(spec.outChannels), spec);
  });
}
