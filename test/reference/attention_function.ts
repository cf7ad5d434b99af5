/**
 * The attention functions of KernelWarehouse (paper, section 3.4, equation 4, Table 8) as the authors' code has them: with a zero cell. DY-Conv and
 * ODConv have none, and divide the logits of their softmax and sigmoids.
 */
import type { Arguments } from './operation.js';
import { size, type Tensor, zeros } from './tensor.js';

/** beta `[m, n+1]`: row i is 1 at the cells (or the zero cell n) that `assignment[i]` lists. */
function assignmentMatrix(args: Arguments, m: number, width: number): Float64Array {
  const beta = new Float64Array(m * width);
  args.lists('assignment').forEach((cells, mixture) => {
    for (const cell of cells) beta[mixture * width + cell] = 1;
  });
  return beta;
}

/** The share of the initial assignment: none without one, whatever the temperature. */
function assignedShare(args: Arguments, temperature: number): number {
  return args.lists('assignment').length === 0 ? 0 : temperature;
}

/** What the functions are of: a row of logits, over T where `softmax` or `sigmoid` is given one. */
function divided(args: Arguments, z: Float64Array, temperature: Tensor | undefined): Float64Array {
  const isDivided = temperature && ['softmax', 'sigmoid'].includes(args.text('function'));
  return isDivided ? z.map((value) => value / temperature.data[0]!) : z;
}

/** Attentions that a row of `width` logits gives. */
function cellsOf(args: Arguments, width: number): number {
  return args.boolean('zeroCell') ? width - 1 : width;
}

function magnitude(z: Float64Array, epsilon: number): number {
  return z.reduce((total, value) => total + Math.abs(value), epsilon);
}

/** f(z) of one row of logits. */
function normalized(name: string, z: Float64Array, epsilon: number): Float64Array {
  switch (name) {
    case 'contrasting':
      return z.map((value) => value / magnitude(z, epsilon));
    case 'rectified':
      return z.map((value) => Math.max(value, 0) / magnitude(z, epsilon));
    case 'sigmoid':
      return z.map((value) => 1 / (1 + Math.exp(-value)));
    case 'softmax': {
      const largest = z.reduce((a, b) => Math.max(a, b));
      const powers = z.map((value) => Math.exp(value - largest));
      const total = powers.reduce((a, b) => a + b);
      return powers.map((power) => power / total);
    }
    default:
      throw new Error(`the reference does not know the attention function ${name}`);
  }
}

/** The gradient of a row of logits from that of f(z). */
function normalizedGradient(name: string, z: Float64Array, gradient: Float64Array, epsilon: number): Float64Array {
  const f = normalized(name, z, epsilon);
  const along = gradient.reduce((total, value, j) => total + value * f[j]!, 0);
  const sum = magnitude(z, epsilon);
  switch (name) {
    case 'contrasting':
      return z.map((value, j) => (gradient[j]! - Math.sign(value) * along) / sum);
    case 'rectified':
      return z.map((value, j) => ((value > 0 ? gradient[j]! : 0) - Math.sign(value) * along) / sum);
    case 'sigmoid':
      return z.map((_, j) => gradient[j]! * f[j]! * (1 - f[j]!));
    default:
      return z.map((_, j) => f[j]! * (gradient[j]! - along));
  }
}

export function attentionFunction(args: Arguments): Tensor[] {
  return [blended(args, args.input(0), args.scalar(1), args.optional(2))];
}

/** attention = (1 - t) f(z) + t beta, without the zero cell's column. */
export function blended(args: Arguments, logits: Tensor, temperature: number, softmaxTemperature?: Tensor): Tensor {
  const t = assignedShare(args, temperature);
  const [batch, m, width] = logits.shape as [number, number, number];
  const beta = assignmentMatrix(args, m, width);
  const cells = cellsOf(args, width);
  const attention = zeros([batch, m, cells]);
  for (let row = 0; row < batch * m; row++) {
    const z = divided(args, logits.data.subarray(row * width, (row + 1) * width), softmaxTemperature);
    const f = normalized(args.text('function'), z, args.number('epsilon'));
    for (let j = 0; j < cells; j++) {
      attention.data[row * cells + j] = (1 - t) * f[j]! + t * beta[(row % m) * width + j]!;
    }
  }
  return attention;
}

export function attentionFunctionBackward(args: Arguments): Tensor[] {
  const [dattention, logits] = [args.input(0), args.input(1)];
  const t = assignedShare(args, args.scalar(2));
  const softmaxTemperature = args.optional(3);
  const width = size(logits, -1);
  const cells = cellsOf(args, width);
  const isDivided = softmaxTemperature && ['softmax', 'sigmoid'].includes(args.text('function'));
  const slope = isDivided ? 1 / softmaxTemperature.data[0]! : 1;
  const dlogits = zeros(logits.shape);
  for (let row = 0; row < logits.data.length / width; row++) {
    const z = divided(args, logits.data.subarray(row * width, (row + 1) * width), softmaxTemperature);
    const gradient = new Float64Array(width);
    gradient.set(dattention.data.subarray(row * cells, (row + 1) * cells));
    const dz = normalizedGradient(args.text('function'), z, gradient, args.number('epsilon'));
    dlogits.data.set(
      dz.map((value) => (1 - t) * slope * value),
      row * width,
    );
  }
  return [dlogits];
}
