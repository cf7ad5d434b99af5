/** How close is close enough: golden/README.md, "How close", in one place. */
import type { Digest } from './format.js';

/** Where numbers were computed: float64 by the reference interpreter or float32 by a backend. */
export type Precision = 'float64' | 'float32';

/** Layer cases hold whole tensors and have fixed bounds; whole networks and training runs widen theirs with the recorded deviation. */
export type Scope = 'layer' | 'network';

/** `value`: outputs, logits, losses, running statistics. `gradient`: gradients, their norm, and tensors that an optimizer has updated. */
export type Kind = 'value' | 'gradient';

/** One number or tensor of a case beside what was computed for it. */
export interface Figure {
  readonly name: string;
  readonly kind: Kind;
  readonly expected: ArrayLike<number> | Digest;
  readonly actual: ArrayLike<number>;
  /** How far the authors' own float32 run is from float64; absent in layer cases. */
  readonly float32Deviation?: number;
  /** For gradients: the l2 of the largest gradient of the same run, which tells a zero gradient from a small one. */
  readonly largestGradient?: number;
}

export interface Judgement {
  readonly name: string;
  readonly verdict: 'passed' | 'failed' | 'not judged';
  readonly deviation: number;
  readonly bound: number;
  /** The deviation is the actual l2 over that of the largest gradient, because the expected gradient is zero but for rounding. */
  readonly zeroGradient: boolean;
}

const kFloat64Bound = 1e-7;
const kUnstable = 1e-2;
/** Below this part of the largest gradient an expected gradient is zero but for rounding; the actual one may be up to the second. */
const kZeroGradient = 1e-9;
const kZeroGradientBound = { float64: kZeroGradient, float32: 1e-3 } as const;

/** The largest relative deviation that passes; undefined when the figure is too unstable to be judged in float32. */
export function boundOf(precision: Precision, scope: Scope, kind: Kind, float32Deviation = 0): number | undefined {
  if (precision === 'float64') return kFloat64Bound;
  if (scope === 'layer') return kind === 'value' ? 1e-4 : 1e-3;
  if (float32Deviation > kUnstable) return undefined;
  return Math.max(kind === 'value' ? 1e-4 : 2e-2, 10 * float32Deviation);
}

export function l2(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]! ** 2;
  return Math.sqrt(sum);
}

function isDigest(expected: Figure['expected']): expected is Digest {
  return 'l2' in expected;
}

/** |actual - expected| in l2 over that of expected; an expected zero is met only by zero. */
function tensorDeviation(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Infinity;
  const difference = new Float64Array(actual.length);
  for (let i = 0; i < difference.length; i++) difference[i] = actual[i]! - expected[i]!;
  return relative(l2(difference), l2(expected));
}

function relative(difference: number, scale: number): number {
  if (difference === 0) return 0;
  return scale === 0 ? Infinity : difference / scale;
}

/**
 * The worst of the digest's figures. A sum or an element that happens to be small has no digits of its own beside the tensor it comes
 * from, so the sum is measured against the l2 at least, and an element against the root mean square at least.
 */
function digestDeviation(actual: ArrayLike<number>, expected: Digest): number {
  const count = expected.shape.reduce((product, size) => product * size, 1);
  if (actual.length !== count) return Infinity;
  let sum = 0;
  for (let i = 0; i < count; i++) sum += actual[i]!;
  const deviations = [
    relative(Math.abs(l2(actual) - expected.l2), expected.l2),
    relative(Math.abs(sum - expected.sum), Math.max(Math.abs(expected.sum), expected.l2)),
  ];
  const rootMeanSquare = expected.l2 / Math.sqrt(count);
  for (const [index, value] of Object.entries(expected.at)) {
    deviations.push(relative(Math.abs(actual[Number(index)]! - value), Math.max(Math.abs(value), rootMeanSquare)));
  }
  return worst(deviations);
}

/** The largest; NaN counts as infinitely far. */
function worst(deviations: readonly number[]): number {
  return deviations.reduce((largest, deviation) => (Number.isNaN(deviation) ? Infinity : Math.max(largest, deviation)), 0);
}

export function judge(figure: Figure, precision: Precision, scope: Scope): Judgement {
  const { name, expected, actual, largestGradient = 0 } = figure;
  const expectedSize = isDigest(expected) ? expected.l2 : l2(expected);
  const zeroGradient = figure.kind === 'gradient' && largestGradient > 0 && expectedSize < kZeroGradient * largestGradient;
  const deviation = worst([
    zeroGradient
      ? l2(actual) / largestGradient
      : isDigest(expected)
        ? digestDeviation(actual, expected)
        : tensorDeviation(actual, expected),
  ]);
  // A zero gradient's own deviation is one rounding error over another, so it says nothing about how stable the figure is.
  const bound = zeroGradient ? kZeroGradientBound[precision] : boundOf(precision, scope, figure.kind, figure.float32Deviation);
  if (bound === undefined) return { name, verdict: 'not judged', deviation, bound: Infinity, zeroGradient };
  return { name, verdict: deviation <= bound ? 'passed' : 'failed', deviation, bound, zeroGradient };
}
