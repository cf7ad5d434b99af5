/** batch_norm and layer_norm with their gradients; both view x as rows by channels. */
import type { Arguments } from './operation.js';
import { size, type Tensor, tensorOf, zeros } from './tensor.js';

interface Statistics {
  readonly mean: Float64Array;
  readonly variance: Float64Array;
}

/** Mean and biased variance of the elements that `member` maps to the same of `count` indices. */
function statisticsOf(x: Float64Array, count: number, member: (index: number) => number): Statistics {
  const mean = new Float64Array(count);
  const variance = new Float64Array(count);
  const members = x.length / count;
  for (let i = 0; i < x.length; i++) mean[member(i)]! += x[i]! / members;
  for (let i = 0; i < x.length; i++) variance[member(i)]! += (x[i]! - mean[member(i)]!) ** 2 / members;
  return { mean, variance };
}

function normalize(
  x: Tensor,
  scale: Tensor,
  bias: Tensor,
  statistics: Statistics,
  epsilon: number,
  member: (index: number) => number,
): Tensor {
  const y = zeros(x.shape);
  const channels = size(x, -1);
  for (let i = 0; i < y.data.length; i++) {
    const { mean, variance } = statistics;
    const at = member(i);
    y.data[i] = ((x.data[i]! - mean[at]!) / Math.sqrt(variance[at]! + epsilon)) * scale.data[i % channels]! + bias.data[i % channels]!;
  }
  return y;
}

/** Gradients through the normalization; where the statistics depend on x, dx loses its mean and its part along the normalized x. */
function backward(args: Arguments, dy: Tensor, member: (index: number) => number, statisticsAreConstant: boolean): Tensor[] {
  const [x, scale, mean, variance] = [args.input(1), args.input(2), args.input(3).data, args.input(4).data];
  const epsilon = args.number('epsilon');
  const channels = size(x, -1);
  const [dx, dscale, dbias] = [zeros(x.shape), zeros([channels]), zeros([channels])];
  const normalized = new Float64Array(x.data.length);
  const meanGradient = new Float64Array(mean.length);
  const meanProduct = new Float64Array(mean.length);
  const members = x.data.length / mean.length;
  for (let i = 0; i < dx.data.length; i++) {
    const at = member(i);
    normalized[i] = (x.data[i]! - mean[at]!) / Math.sqrt(variance[at]! + epsilon);
    dscale.data[i % channels]! += dy.data[i]! * normalized[i]!;
    dbias.data[i % channels]! += dy.data[i]!;
    const gradient = dy.data[i]! * scale.data[i % channels]!;
    meanGradient[at]! += gradient / members;
    meanProduct[at]! += (gradient * normalized[i]!) / members;
  }
  for (let i = 0; i < dx.data.length; i++) {
    const at = member(i);
    const gradient = dy.data[i]! * scale.data[i % channels]!;
    const centred = statisticsAreConstant ? gradient : gradient - meanGradient[at]! - normalized[i]! * meanProduct[at]!;
    dx.data[i] = centred / Math.sqrt(variance[at]! + epsilon);
  }
  return [dx, dscale, dbias];
}

function byChannel(x: Tensor): (index: number) => number {
  const channels = size(x, -1);
  return (index) => index % channels;
}

function byRow(x: Tensor): (index: number) => number {
  const channels = size(x, -1);
  return (index) => Math.floor(index / channels);
}

/** The largest value that an activation lets through; undefined where there is none. */
function limitOf(args: Arguments): number | undefined {
  const limits: Readonly<Record<string, number>> = { relu: Number.POSITIVE_INFINITY, relu6: 6 };
  return limits[args.text('activation')];
}

export function batchNorm(args: Arguments): Tensor[] {
  const x = args.input(0);
  const statistics = statisticsOf(x.data, size(x, -1), byChannel(x));
  const y = normalize(x, args.input(1), args.input(2), statistics, args.number('epsilon'), byChannel(x));
  args.optional(3)?.data.forEach((value, i) => (y.data[i]! += value));
  const limit = limitOf(args);
  if (limit !== undefined) y.data.forEach((value, i) => (y.data[i] = Math.min(Math.max(value, 0), limit)));
  return [y, tensorOf(args.outputShape(1), statistics.mean), tensorOf(args.outputShape(2), statistics.variance)];
}

/** Without y the activation's input is computed again; with it, the gradient that the activation lets pass is a result too. */
export function batchNormBackward(args: Arguments): Tensor[] {
  const [dy, x, y] = [args.input(0), args.input(1), args.optional(6)];
  const limit = limitOf(args);
  if (limit === undefined) return backward(args, dy, byChannel(x), false);
  const statistics = { mean: args.input(3).data, variance: args.input(4).data };
  const shown = y ?? normalize(x, args.input(2), args.input(5), statistics, args.number('epsilon'), byChannel(x));
  const passed = tensorOf(
    dy.shape,
    dy.data.map((gradient, i) => (shown.data[i]! > 0 && shown.data[i]! < limit ? gradient : 0)),
  );
  return [...backward(args, passed, byChannel(x), false), ...(y ? [passed] : [])];
}

export function batchNormInference(args: Arguments): Tensor[] {
  const x = args.input(0);
  const statistics = { mean: args.input(3).data, variance: args.input(4).data };
  return [normalize(x, args.input(1), args.input(2), statistics, args.number('epsilon'), byChannel(x))];
}

export function batchNormInferenceBackward(args: Arguments): Tensor[] {
  return backward(args, args.input(0), byChannel(args.input(1)), true);
}

export function layerNorm(args: Arguments): Tensor[] {
  const x = args.input(0);
  const statistics = statisticsOf(x.data, x.data.length / size(x, -1), byRow(x));
  const y = normalize(x, args.input(1), args.input(2), statistics, args.number('epsilon'), byRow(x));
  return [y, tensorOf(args.outputShape(1), statistics.mean), tensorOf(args.outputShape(2), statistics.variance)];
}

export function layerNormBackward(args: Arguments): Tensor[] {
  return backward(args, args.input(0), byRow(args.input(1)), false);
}

/** r = (1 - momentum) r + momentum s, in place; the running variance takes the unbiased one when there is more than one value. */
export function updateRunningStatistics(args: Arguments): Tensor[] {
  const [runningMean, runningVariance, mean, variance] = [args.input(0).data, args.input(1).data, args.input(2).data, args.input(3).data];
  const momentum = args.number('momentum');
  const count = args.number('count');
  const unbiased = count > 1 ? count / (count - 1) : 1;
  for (let i = 0; i < runningMean.length; i++) {
    runningMean[i] = (1 - momentum) * runningMean[i]! + momentum * mean[i]!;
    runningVariance[i] = (1 - momentum) * runningVariance[i]! + momentum * unbiased * variance[i]!;
  }
  return [];
}
