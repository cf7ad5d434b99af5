/** How to draw a run of each normalisation. */
import { evaluate } from '../reference/operations.js';
import { type Draw, type DrawnTensor, floats, type Sample } from './draw.js';

const epsilon = 1e-5;

/** [..., C] with at least four values for each channel: with two, the gradient vanishes but for epsilon, and float32 has no digits of it. */
function normalizedShape(draw: Draw): number[] {
  return [draw.integer(4, 6), ...Array.from({ length: draw.integer(0, 2) }, () => draw.integer(1, 3)), draw.channels()];
}

type Activation = 'none' | 'relu' | 'relu6';

function drawActivation(draw: Draw): Activation {
  return draw.choice(['none', 'relu', 'relu6']);
}

/** For each channel the bias that puts a limit of the activation into the widest gap between that channel's values, far from each of them. */
function biasAtGaps(x: DrawnTensor, scale: DrawnTensor, limit: number): DrawnTensor {
  const channels = scale.values.length;
  const zero = floats([channels], new Float64Array(channels));
  const inputs = [x, scale, zero].map(({ shape, values }) => ({ shape, data: values }));
  const plain = evaluate('batch_norm', inputs, { epsilon, activation: 'none' }, [x.shape, [channels], [channels]])[0]!;
  const biases = Array.from({ length: channels }, (_, channel) => {
    const values = [...plain.data.filter((_value, i) => i % channels === channel)].sort((a, b) => a - b);
    const gaps = values.slice(1).map((value, i) => value - values[i]!);
    const widest = gaps.indexOf(Math.max(...gaps));
    return Math.fround(limit - (values[widest]! + values[widest + 1]!) / 2);
  });
  return floats([channels], biases);
}

function batchNorm(draw: Draw): Sample {
  const drawn = normalizedShape(draw);
  const vector = [drawn.at(-1)!];
  const activation = drawActivation(draw);
  const x = draw.distinct(drawn);
  if (activation === 'none') {
    const residual = draw.boolean() ? draw.tensor(drawn) : undefined;
    const inputs = [x, draw.tensor(vector), draw.tensor(vector), residual];
    return { inputs, attributes: { epsilon, activation }, differentiable: residual ? [0, 1, 2, 3] : [0, 1, 2] };
  }
  const scale = draw.awayFromZero(vector);
  const bias = biasAtGaps(x, scale, activation === 'relu6' && draw.boolean() ? 6 : 0);
  // A residual of a few whole tens moves some values far beyond the limits and leaves the others where they are.
  const residual = draw.boolean()
    ? floats(
        drawn,
        draw.tensor(drawn).values.map((value) => 20 * Math.round(value)),
      )
    : undefined;
  const differentiable = residual ? [0, 1, 2, 3] : [0, 1, 2];
  return { inputs: [x, scale, bias, residual], attributes: { epsilon, activation }, differentiable };
}

/** dy, x, scale and x's own statistics, over the rows or over the channels. */
function backward(draw: Draw, statistic: 'channel' | 'row' | 'given'): DrawnTensor[] {
  const channels = draw.choice([4, 5, 8, 16, 17]);
  const drawn = [...normalizedShape(draw).slice(0, -1), channels];
  const x = draw.distinct(drawn);
  const count = statistic === 'row' ? x.values.length / channels : channels;
  const mean = draw.tensor([count]);
  const variance = draw.tensor([count], 0.25, 2);
  if (statistic !== 'given') {
    const member = (i: number) => (statistic === 'row' ? Math.floor(i / channels) : i % channels);
    const members = x.values.length / count;
    mean.values.fill(0);
    variance.values.fill(0);
    x.values.forEach((value, i) => (mean.values[member(i)]! += value / members));
    x.values.forEach((value, i) => (variance.values[member(i)]! += (value - mean.values[member(i)]!) ** 2 / members));
  }
  const rounded = [mean, variance].map(({ shape: of, values }) => floats(of, values.map(Math.fround)));
  return [draw.tensor(drawn), x, draw.tensor([channels]), ...rounded];
}

function batchNormBackward(draw: Draw): Sample {
  const inputs = backward(draw, 'channel');
  const [, { shape }, scale] = inputs as [DrawnTensor, DrawnTensor, DrawnTensor];
  const activation = drawActivation(draw);
  if (activation === 'none') return { inputs, attributes: { epsilon, activation } };
  const y = draw.boolean() ? draw.tensor(shape, -3, 9).values.map((value) => Math.max(value, 0)) : undefined;
  const limited = y?.map((value) => Math.min(value, activation === 'relu6' ? 6 : value));
  return { inputs: [...inputs, draw.tensor(scale.shape), limited && floats(shape, limited)], attributes: { epsilon, activation } };
}

function batchNormInference(draw: Draw): Sample {
  const drawn = normalizedShape(draw);
  const vector = [drawn.at(-1)!];
  return {
    inputs: [draw.tensor(drawn), draw.tensor(vector), draw.tensor(vector), draw.tensor(vector), draw.tensor(vector, 0.25, 2)],
    attributes: { epsilon },
    differentiable: [0, 1, 2],
  };
}

function layerNorm(draw: Draw): Sample {
  const drawn = [...normalizedShape(draw).slice(0, -1), draw.choice([4, 5, 8, 16, 17])];
  const vector = [drawn.at(-1)!];
  return { inputs: [draw.distinct(drawn), draw.tensor(vector), draw.tensor(vector)], attributes: { epsilon }, differentiable: [0, 1, 2] };
}

function updateRunningStatistics(draw: Draw): Sample {
  const vector = [draw.channels()];
  const inputs = [draw.tensor(vector), draw.tensor(vector, 0.5, 2), draw.tensor(vector), draw.tensor(vector, 0.5, 2)];
  return { inputs, attributes: { momentum: draw.choice([0.1, 0.5, 1]), count: draw.choice([1, 2, 50]) } };
}

export const normalizationSamples: Readonly<Record<string, (draw: Draw) => Sample>> = {
  batch_norm: batchNorm,
  batch_norm_backward: batchNormBackward,
  batch_norm_inference: batchNormInference,
  batch_norm_inference_backward: (draw) => ({ inputs: backward(draw, 'given'), attributes: { epsilon } }),
  update_running_statistics: updateRunningStatistics,
  layer_norm: layerNorm,
  layer_norm_backward: (draw) => ({ inputs: backward(draw, 'row'), attributes: { epsilon } }),
};
