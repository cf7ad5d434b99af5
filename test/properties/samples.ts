/** For each op, how to draw a run of it. The tests iterate over the op registry, so an op that is missing here fails them. */
import { attentionFunctions } from '../../lib/graph/ops/attention_function.js';
import { evaluate } from '../reference/operations.js';
import { activationSamples } from './activation_samples.js';
import { convolutionSamples } from './convolution_samples.js';
import { type Draw, type DrawnTensor, floats, integers, type Sample } from './draw.js';
import { normalizationSamples } from './normalization_samples.js';

/** [..., C] of one to four axes. */
function shape(draw: Draw): number[] {
  return [...Array.from({ length: draw.integer(0, 3) }, () => draw.integer(1, 4)), draw.channels()];
}

function scalarOf(value: number): DrawnTensor {
  return floats([], [Math.fround(value)]);
}

function add(draw: Draw): Sample {
  const drawn = shape(draw);
  return { inputs: [draw.tensor(drawn), draw.tensor(drawn)], attributes: {}, differentiable: [0, 1] };
}

function addBias(draw: Draw): Sample {
  const drawn = shape(draw);
  return { inputs: [draw.tensor(drawn), draw.tensor([drawn.at(-1)!])], attributes: {}, differentiable: [0, 1] };
}

function unary(draw: Draw): Sample {
  return { inputs: [draw.awayFromZero(shape(draw))], attributes: {}, differentiable: [0] };
}

function reluBackward(draw: Draw): Sample {
  const drawn = shape(draw);
  const y = draw.tensor(drawn);
  return { inputs: [draw.tensor(drawn), { ...y, values: y.values.map((value) => Math.max(value, 0)) }], attributes: {} };
}

/** A shape of up to five axes, and a factor's shape that is 1 along any of them. */
function drawFactor(draw: Draw) {
  const drawn = [...Array.from({ length: draw.integer(0, 4) }, () => draw.integer(1, 4)), draw.channels()];
  return { drawn, factorShape: drawn.map((size) => (draw.boolean() ? size : 1)) };
}

function multiply(draw: Draw): Sample {
  const { drawn, factorShape } = drawFactor(draw);
  return { inputs: [draw.tensor(drawn), draw.tensor(factorShape)], attributes: {}, differentiable: [0, 1] };
}

function multiplyBackwardFactor(draw: Draw): Sample {
  const { drawn, factorShape } = drawFactor(draw);
  return { inputs: [draw.tensor(drawn), draw.tensor(drawn)], attributes: { factorShape } };
}

function reshape(draw: Draw): Sample {
  const drawn = shape(draw);
  const count = drawn.reduce((a, b) => a * b, 1);
  return { inputs: [draw.tensor(drawn)], attributes: { shape: draw.boolean() ? [count] : [1, count] }, differentiable: [0] };
}

function matmul(draw: Draw): Sample {
  const [m, n, k] = [draw.channels(), draw.channels(), draw.channels()];
  const [transposeA, transposeB] = [draw.boolean(), draw.boolean()];
  const bias = draw.boolean() ? draw.tensor([n]) : undefined;
  return {
    inputs: [draw.tensor(transposeA ? [k, m] : [m, k]), draw.tensor(transposeB ? [n, k] : [k, n]), bias],
    attributes: { transposeA, transposeB },
    differentiable: bias ? [0, 1, 2] : [0, 1],
  };
}

function globalAvgPool(draw: Draw): Sample {
  return { inputs: [draw.tensor([draw.integer(1, 3), ...middle(draw), draw.channels()])], attributes: {}, differentiable: [0] };
}

function middle(draw: Draw): number[] {
  return Array.from({ length: draw.integer(1, 2) }, () => draw.integer(1, 7));
}

function globalAvgPoolBackward(draw: Draw): Sample {
  const inputShape = [draw.integer(1, 3), ...middle(draw), draw.channels()];
  const accumulator = draw.boolean() ? draw.tensor(inputShape) : undefined;
  const inputs = [draw.tensor([inputShape[0]!, inputShape.at(-1)!]), accumulator];
  return { inputs, attributes: { inputShape, type: 'float32' }, differentiable: accumulator ? [0, 1] : [0] };
}

/** Grids of fewer windows than pixels and of more, dividing them or not. */
function drawAdaptivePooling(draw: Draw) {
  const [samples, channels] = [draw.integer(1, 3), draw.choice([draw.channels(), 67])];
  return { samples, channels, size: [draw.integer(1, 7), draw.integer(1, 4)], inputSize: [draw.integer(1, 12), draw.integer(1, 9)] };
}

function adaptiveAvgPool2d(draw: Draw): Sample {
  const { samples, channels, size, inputSize } = drawAdaptivePooling(draw);
  return { inputs: [draw.tensor([samples, ...inputSize, channels])], attributes: { size }, differentiable: [0] };
}

function adaptiveAvgPool2dBackward(draw: Draw): Sample {
  const { samples, channels, size, inputSize } = drawAdaptivePooling(draw);
  return { inputs: [draw.tensor([samples, ...size, channels])], attributes: { inputSize, type: 'float32' } };
}

/** Any order of up to five axes. */
function transpose(draw: Draw): Sample {
  const drawn = [...shape(draw), draw.integer(1, 5)];
  const axes: number[] = [];
  for (let axis = 0; axis < drawn.length; axis++) axes.splice(draw.integer(0, axis), 0, axis);
  return { inputs: [draw.tensor(drawn)], attributes: { axes }, differentiable: [0] };
}

/** Windows as PyTorch allows them: the padding is at most half the kernel, so that each holds an element. */
function drawPooling(draw: Draw) {
  const kernel = [draw.integer(1, 3), draw.integer(1, 3)];
  const padding = kernel.map((size) => draw.integer(0, Math.floor(size / 2)));
  const stride = [draw.integer(1, 3), draw.integer(1, 3)];
  const inputSize = kernel.map((size) => size + draw.integer(0, 4));
  const outputSize = inputSize.map((size, i) => Math.floor((size + 2 * padding[i]! - kernel[i]!) / stride[i]!) + 1);
  return { inputSize, outputSize, samples: draw.integer(1, 3), channels: draw.channels(), attributes: { kernel, stride, padding } };
}

function maxPool2d(draw: Draw): Sample {
  const { inputSize, samples, channels, attributes } = drawPooling(draw);
  return { inputs: [draw.distinct([samples, ...inputSize, channels])], attributes, differentiable: [0] };
}

function maxPool2dBackward(draw: Draw): Sample {
  const { inputSize, outputSize, samples, channels } = drawPooling(draw);
  const output = [samples, ...outputSize, channels];
  return { inputs: [draw.tensor(output), draw.indices(output, inputSize[0]! * inputSize[1]!)], attributes: { inputSize } };
}

/**
 * Each mixture is bound to one cell, to several, to the zero cell, or to none; or there is no assignment at all. With and without a zero
 * cell, and a softmax temperature.
 */
function drawAttention(draw: Draw) {
  const [samples, m, n, zeroCell] = [draw.integer(1, 3), draw.integer(1, 6), draw.channels(), draw.boolean()];
  const columns = zeroCell ? n + 1 : n;
  const last = columns - 1;
  const assignment = Array.from({ length: m }, () => draw.choice([[], [draw.integer(0, last)], [last], n > 1 ? [0, n - 1] : [0]]));
  const attributes = {
    function: draw.choice(attentionFunctions),
    assignment: draw.choice([assignment, assignment, []]),
    epsilon: draw.choice([1e-3, 0.1]),
    zeroCell,
  };
  const temperatures = [scalarOf(draw.choice([0, 0.25, 0.7, 1])), draw.choice([undefined, scalarOf(1), scalarOf(4.5)])];
  return { samples, m, n, columns, attributes, temperatures };
}

function attentionFunction(draw: Draw): Sample {
  const { samples, m, columns, attributes, temperatures } = drawAttention(draw);
  return { inputs: [draw.awayFromZero([samples, m, columns]), ...temperatures], attributes, differentiable: [0] };
}

function attentionFunctionBackward(draw: Draw): Sample {
  const { samples, m, n, columns, attributes, temperatures } = drawAttention(draw);
  return { inputs: [draw.tensor([samples, m, n]), draw.awayFromZero([samples, m, columns]), ...temperatures], attributes };
}

/** With a normalization of either kind and with none, with and without the first bias. */
function attentionModule(draw: Draw): Sample {
  const { samples, m, columns, attributes, temperatures } = drawAttention(draw);
  const [channels, hidden, norm] = [draw.channels(), draw.choice([2, 7, 16, 17]), draw.choice(['batch', 'layer', 'none'])];
  const affine = norm === 'none' ? [undefined, undefined] : [draw.tensor([hidden]), draw.tensor([hidden])];
  const statistics = norm === 'batch' ? [draw.tensor([hidden]), draw.tensor([hidden], 0.5, 2)] : [undefined, undefined];
  const inputs = [
    draw.tensor([samples, channels]),
    draw.tensor([hidden, channels]),
    draw.boolean() ? draw.tensor([hidden]) : undefined,
    ...affine,
    ...statistics,
    draw.tensor([m * columns, hidden]),
    draw.awayFromZero([m * columns]),
    ...temperatures,
  ];
  return { inputs, attributes: { ...attributes, mixtures: m, normEpsilon: 1e-2 } };
}

function drawTokens(draw: Draw) {
  const [heads, width] = [draw.integer(1, 3), draw.channels()];
  return { shape: [draw.integer(1, 2), draw.choice([1, 2, 5, 9]), heads * width], attributes: { heads } };
}

function selfAttention(draw: Draw): Sample {
  const { shape: tokens, attributes } = drawTokens(draw);
  return { inputs: [draw.tensor(tokens), draw.tensor(tokens), draw.tensor(tokens)], attributes, differentiable: [0, 1, 2] };
}

/** With the y and the logSumExp that belong to the drawn tokens. */
function selfAttentionBackward(draw: Draw): Sample {
  const { shape: tokens, attributes } = drawTokens(draw);
  const inputs = [draw.tensor(tokens), draw.tensor(tokens), draw.tensor(tokens)];
  const data = inputs.map(({ shape: of, values }) => ({ shape: of, data: values }));
  const forward = evaluate('self_attention', data, attributes, [tokens, [tokens[0]!, attributes.heads, tokens[1]!]]);
  const rounded = forward.map(({ shape: of, data: values }) => floats(of, values.map(Math.fround)));
  return { inputs: [draw.tensor(tokens), ...inputs, ...rounded], attributes };
}

function slice(draw: Draw): Sample {
  const x = draw.tensor(shape(draw));
  const start = draw.integer(0, x.shape.at(-1)! - 1);
  return { inputs: [x], attributes: { start, end: draw.integer(start + 1, x.shape.at(-1)!) }, differentiable: [0] };
}

function sliceBackward(draw: Draw): Sample {
  const dy = draw.tensor(shape(draw));
  const start = draw.integer(0, 3);
  return { inputs: [dy], attributes: { start, size: start + dy.shape.at(-1)! + draw.integer(0, 3) } };
}

function concat(draw: Draw): Sample {
  const leading = shape(draw).slice(0, -1);
  const inputs = Array.from({ length: draw.integer(1, 4) }, () => draw.tensor([...leading, draw.channels()]));
  return { inputs, attributes: {}, differentiable: inputs.map((_, i) => i) };
}

function dropout(draw: Draw): Sample {
  const x = draw.tensor([draw.integer(1, 5), ...shape(draw)]);
  const counters = [draw.integer(-(2 ** 31), 2 ** 31 - 1), draw.integer(0, 2 ** 31 - 1)].map((value) => integers([], [value]));
  const attributes = { probability: draw.choice([0.1, 0.5, 0.9]), perSample: draw.boolean(), stream: draw.integer(0, 1000) };
  return { inputs: [x, ...counters], attributes, differentiable: [0] };
}

function drawTargets(draw: Draw, rows: number, classes: number): DrawnTensor {
  return draw.boolean() ? draw.indices([rows], classes) : draw.distributions(rows, classes);
}

function crossEntropy(draw: Draw): Sample {
  const [rows, classes] = [draw.integer(1, 4), draw.integer(2, 12)];
  const logits = draw.tensor([rows, classes], -5, 5);
  return { inputs: [logits, drawTargets(draw, rows, classes)], attributes: { labelSmoothing: draw.choice([0, 0.1]) }, differentiable: [0] };
}

function crossEntropyBackward(draw: Draw): Sample {
  const [rows, classes] = [draw.integer(1, 4), draw.integer(2, 12)];
  const inputs = [draw.tensor([]), draw.distributions(rows, classes), drawTargets(draw, rows, classes)];
  return { inputs, attributes: { labelSmoothing: draw.choice([0, 0.1]) } };
}

function fill(draw: Draw): Sample {
  return { inputs: [], attributes: { shape: draw.boolean() ? [] : shape(draw), value: draw.choice([0, 1, -2.5]) }, differentiable: [] };
}

function copy(draw: Draw): Sample {
  const drawn = shape(draw);
  return { inputs: [draw.tensor(drawn), draw.tensor(drawn)], attributes: {} };
}

function sumOfSquares(draw: Draw): Sample {
  return { inputs: [draw.tensor([draw.integer(1, 5000)])], attributes: {} };
}

function sgd(draw: Draw): Sample {
  const size = draw.integer(1, 300);
  return {
    inputs: [draw.tensor([size]), draw.tensor([size]), draw.tensor([size]), scalarOf(0.1), scalarOf(draw.choice([0, 0.01]))],
    attributes: { momentum: draw.choice([0, 0.9]), nesterov: draw.boolean(), decayed: draw.integer(0, size) },
  };
}

function adamw(draw: Draw): Sample {
  const size = draw.integer(1, 300);
  const controls = [scalarOf(0.01), scalarOf(draw.choice([0, 0.05])), integers([], [draw.choice([1, 2, 100, 100000])])];
  return {
    inputs: [draw.tensor([size]), draw.tensor([size]), draw.tensor([size]), draw.tensor([size], 0, 1), ...controls],
    attributes: { beta1: 0.9, beta2: 0.999, epsilon: draw.choice([1e-8, 1e-3]), decayed: draw.integer(0, size) },
  };
}

export const samples: Readonly<Record<string, (draw: Draw) => Sample>> = {
  ...convolutionSamples,
  add,
  cast: (draw) => ({ inputs: [draw.tensor(shape(draw))], attributes: { type: 'bfloat16' }, differentiable: [0] }),
  add_bias: addBias,
  sum_rows: unary,
  relu: unary,
  relu_backward: reluBackward,
  ...activationSamples,
  multiply,
  multiply_backward_factor: multiplyBackwardFactor,
  reshape,
  matmul,
  global_avg_pool: globalAvgPool,
  global_avg_pool_backward: globalAvgPoolBackward,
  adaptive_avg_pool2d: adaptiveAvgPool2d,
  adaptive_avg_pool2d_backward: adaptiveAvgPool2dBackward,
  max_pool2d: maxPool2d,
  max_pool2d_backward: maxPool2dBackward,
  ...normalizationSamples,
  attention_function: attentionFunction,
  attention_function_backward: attentionFunctionBackward,
  attention_module: attentionModule,
  self_attention: selfAttention,
  self_attention_backward: selfAttentionBackward,
  transpose,
  slice,
  slice_backward: sliceBackward,
  concat,
  dropout,
  cross_entropy: crossEntropy,
  cross_entropy_backward: crossEntropyBackward,
  fill,
  copy,
  sum_of_squares: sumOfSquares,
  sgd,
  adamw,
  moving_average: (draw) => {
    const size = draw.integer(1, 300);
    return { inputs: [draw.tensor([size]), draw.tensor([size]), scalarOf(draw.choice([0, 0.5, 0.9999, 1]))], attributes: {} };
  },
};
