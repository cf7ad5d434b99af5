/**
 * How far a right result in bfloat16 may be from the reference. Operands are the same numbers everywhere (docs/ops.md), and so are their products, which
 * float32 holds exactly; what differs is the order of float32 sums, and then, now and then, on which side of a tie a sum is rounded to bfloat16. Both
 * are bounded here, element by element, from the number and the size of the terms.
 */
import { keep, roundToBfloat16 } from './bfloat16.js';
import { convolution, convolutionBackwardInput, convolutionBackwardWeight } from './convolution.js';
import { backwardAttention, backwardCells, mix, mixedWeightShape } from './mixing.js';
import { activationOf, meansOf } from './normalized_convolution.js';
import { Arguments } from './operation.js';
import { evaluate } from './operations.js';
import { size, type Tensor } from './tensor.js';

/** The exact result of exact operands, before it is rounded to the type that it is stored in, and how far that of a device may be from it. */
export interface Bounded {
  readonly value: Tensor;
  readonly error: Float64Array;
}

/** The largest relative error of one float32 operation. */
const kUnit = 2 ** -24;

function map(tensor: Tensor, change: (value: number, index: number) => number): Tensor {
  return { shape: tensor.shape, data: tensor.data.map(change) };
}

function exact(value: Tensor): Bounded {
  return { value, error: new Float64Array(value.data.length) };
}

/** As bfloat16: the interval of possible sums may reach over a tie. */
export function rounded({ value, error }: Bounded): Bounded {
  const at = (sum: number, index: number) => {
    const here = roundToBfloat16(sum);
    return Math.max(roundToBfloat16(sum + error[index]!) - here, here - roundToBfloat16(sum - error[index]!));
  };
  return { value: { shape: value.shape, data: keep('bfloat16', value.data.slice()) }, error: value.data.map(at) };
}

/**
 * A function that is linear in both operands and sums up float32 products. A sum of n terms in any order is off by at most n units of the sum of their
 * magnitudes (two more for what else happens to it); ones in place of the operands count the terms.
 */
function multiply(product: (a: Tensor, b: Tensor) => Tensor, a: Bounded, b: Bounded): Bounded {
  const magnitude = ({ value }: Bounded) => map(value, Math.abs);
  const largest = ({ value, error }: Bounded) => map(value, (element, index) => Math.abs(element) + error[index]!);
  const one = ({ value }: Bounded) => map(value, () => 1);
  const terms = product(one(a), one(b)).data;
  const sizes = product(largest(a), largest(b)).data;
  const own = product(magnitude(a), magnitude(b)).data;
  return {
    value: product(a.value, b.value),
    error: sizes.map((each, index) => (terms[index]! + 2) * kUnit * each + Math.max(0, each - own[index]!)),
  };
}

/** A float32 summand for each element, as `summand` tells it. */
function add({ value, error }: Bounded, summand: (index: number) => number): Bounded {
  const sums = map(value, (element, index) => element + summand(index));
  const errors = error.map((each, index) => each + kUnit * (Math.abs(value.data[index]!) + Math.abs(summand(index)) + each));
  return { value: sums, error: errors };
}

function addBias(sums: Bounded, bias: Tensor | undefined): Bounded {
  return bias ? add(sums, (index) => bias.data[index % bias.data.length]!) : sums;
}

/** The weight that a convolution multiplies, [O, kernel, I] or one for each sample. */
function mixedWeight(args: Arguments, first: number, inChannels: number): Bounded {
  const shape = mixedWeightShape(args, inChannels);
  return rounded(multiply((attention, cells) => mix(shape, attention, cells), exact(args.operand(first)), exact(args.operand(first + 1))));
}

function convolve(args: Arguments, weight: Bounded, samplewise: boolean): Bounded {
  return multiply((x, w) => convolution(args, x, w, undefined, samplewise), exact(args.input(0)), weight);
}

function convolveBack(args: Arguments, weight: Bounded, samplewise: boolean): Bounded {
  return multiply((dy, w) => convolutionBackwardInput(args, dy, w, samplewise), exact(args.input(0)), weight);
}

function weightGradient(args: Arguments, samplewise: boolean): Bounded {
  return multiply((x, dy) => convolutionBackwardWeight(args, x, dy, samplewise), exact(args.input(0)), exact(args.input(1)));
}

/** BatchNorm, residual and activation on float32 sums; the inputs from `first` on are scale, shift, mean, variance and perhaps a residual. */
function finish(args: Arguments, sums: Bounded, bias: Tensor | undefined, first: number): Bounded {
  const [scale, shift, mean, variance] = [0, 1, 2, 3].map((i) => args.input(first + i).data) as Float64Array[];
  const residual = args.optional(first + 4);
  const activate = activationOf(args);
  const channels = size(sums.value, -1);
  const factorOf = (c: number) => scale![c]! / Math.sqrt(variance![c]! + args.number('epsilon'));
  const shiftOf = (c: number) => shift![c]! + ((bias?.data[c] ?? 0) - mean![c]!) * factorOf(c);
  const error = sums.error.map((each, index) => {
    const [factor, constant] = [Math.abs(factorOf(index % channels)), Math.abs(shiftOf(index % channels))];
    const terms = factor * (Math.abs(sums.value.data[index]!) + each) + constant + Math.abs(residual?.data[index] ?? 0);
    return factor * each + 5 * kUnit * terms;
  });
  const value = map(sums.value, (sum, index) => {
    const c = index % channels;
    return activate(sum * factorOf(c) + shiftOf(c) + (residual?.data[index] ?? 0));
  });
  return { value, error };
}

/** The means over positions of y as it is stored. */
function means(y: Bounded): Bounded {
  const stored = rounded(y);
  const value = meansOf(stored.value);
  const positions = y.error.length / value.data.length;
  const [errors, sizes] = [meansOf({ shape: y.value.shape, data: stored.error }).data, meansOf(map(stored.value, Math.abs)).data];
  return { value, error: errors.map((each, index) => each + (positions + 2) * kUnit * (sizes[index]! + each)) };
}

const bounds: Readonly<Record<string, (args: Arguments) => Bounded[]>> = {
  mixed_conv2d: (args) => [addBias(convolve(args, mixedWeight(args, 1, size(args.input(0), -1)), true), args.optional(3))],
  mixed_conv2d_backward_input: (args) => [convolveBack(args, mixedWeight(args, 1, args.outputShape(0)[3]!), true)],
  mixed_conv2d_backward_mixing: (args) => {
    const [attention, cells, accumulator] = [exact(args.operand(2)), exact(args.operand(3)), args.optional(4)];
    const dweight = rounded(weightGradient(args, true));
    const dcells = multiply((d, a) => backwardCells(d, a, cells.value.shape), dweight, attention);
    return [multiply(backwardAttention, dweight, cells), accumulator ? add(dcells, (index) => accumulator.data[index]!) : dcells];
  },
  normalized_conv2d: (args) => [finish(args, convolve(args, exact(args.operand(1)), false), args.optional(2), 3)],
  normalized_mixed_conv2d: (args) => {
    const y = finish(args, convolve(args, mixedWeight(args, 1, size(args.input(0), -1)), true), args.optional(3), 4);
    return args.boolean('means') ? [y, means(y)] : [y];
  },
};
for (const dimensions of ['2d', '3d']) {
  for (const samplewise of [false, true]) {
    const name = `${samplewise ? 'samplewise_' : ''}conv${dimensions}`;
    Object.assign(bounds, {
      [name]: (args: Arguments) => [addBias(convolve(args, exact(args.operand(1)), samplewise), args.optional(2))],
      [`${name}_backward_input`]: (args: Arguments) => [convolveBack(args, exact(args.operand(1)), samplewise)],
      [`${name}_backward_weight`]: (args: Arguments) => [weightGradient(args, samplewise)],
    });
  }
}

/** Names of the ops whose bounds follow from their terms. */
export const boundedOperations: readonly string[] = Object.keys(bounds);

/**
 * What an op with bfloat16 activations gives. Ops that round no operand compute in float32 what they widened, so `float32Error`, what they may be off by
 * in float32 (given the result), bounds them too.
 */
export function evaluateBounded(
  name: string,
  inputs: readonly (Tensor | undefined)[],
  attributes: Readonly<Record<string, unknown>>,
  outputShapes: readonly (readonly number[])[],
  float32Error: (values: Float64Array) => number,
): Bounded[] {
  const known = bounds[name];
  if (known) return known(new Arguments(name, inputs, attributes, outputShapes));
  return evaluate(name, inputs, attributes, outputShapes).map((value) => ({
    value,
    error: new Float64Array(value.data.length).fill(float32Error(value.data)),
  }));
}
