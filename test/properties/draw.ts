/** Random sizes and values for property tests. Everything comes from fast-check, so a failure is shrunk and can be replayed. */
import fc from 'fast-check';
import type { DataType } from '../../lib/plan/plan.js';
import { fillFrom } from '../golden/fill.js';
import { elementCount } from '../reference/tensor.js';

export interface DrawnTensor {
  readonly type: DataType;
  readonly shape: readonly number[];
  /** Exact in float32 (or int32). */
  readonly values: Float64Array;
}

/** One drawn run of a single op. */
export interface Sample {
  readonly inputs: readonly (DrawnTensor | undefined)[];
  readonly attributes: Readonly<Record<string, unknown>>;
  /** Positions of the inputs that must have a gradient. */
  readonly differentiable?: readonly number[];
}

export class Draw {
  private tensors = 0;
  private readonly seed: number;

  constructor(private readonly generate: fc.GeneratorValue) {
    this.seed = this.integer(0, 2 ** 30);
  }

  integer(min: number, max: number): number {
    return this.generate(fc.integer, { min, max });
  }

  choice<T>(values: readonly T[]): T {
    return values[this.integer(0, values.length - 1)]!;
  }

  boolean(): boolean {
    return this.integer(0, 1) === 1;
  }

  /** Sizes that are small, odd, and around the widths of vector registers. */
  channels(): number {
    return this.choice([1, 2, 3, 4, 5, 7, 8, 9, 16, 17]);
  }

  tensor(shape: readonly number[], low = -1, high = 1): DrawnTensor {
    const values = fillFrom(`${this.seed}/${this.tensors++}`, low, high, elementCount(shape));
    return { type: 'float32', shape, values: Float64Array.from(values) };
  }

  /** Values with magnitudes in [0.1, 1] and random signs: away from the kinks of relu and of the absolute value. */
  awayFromZero(shape: readonly number[]): DrawnTensor {
    const { values } = this.tensor(shape);
    return floats(
      shape,
      values.map((value) => Math.fround(Math.sign(value) * (0.1 + 0.9 * Math.abs(value)))),
    );
  }

  /** Values at least 1/64 apart in random order, so that a small step never changes which one is the largest. */
  distinct(shape: readonly number[]): DrawnTensor {
    const { values } = this.tensor(shape);
    const order = [...values.keys()].sort((a, b) => values[a]! - values[b]!);
    const ranks = new Float64Array(values.length);
    order.forEach((index, rank) => {
      ranks[index] = rank / 64 - 1;
    });
    return floats(shape, ranks);
  }

  /** Integers from 0 to bound - 1. */
  indices(shape: readonly number[], bound: number): DrawnTensor {
    return integers(
      shape,
      this.tensor(shape, 0, 1).values.map((value) => Math.min(bound - 1, Math.floor(value * bound))),
    );
  }

  /** Rows that are positive and sum to 1 but for rounding. */
  distributions(rows: number, columns: number): DrawnTensor {
    const { values } = this.tensor([rows, columns], 0.1, 1);
    const sums = Array.from({ length: rows }, (_, row) => values.subarray(row * columns, (row + 1) * columns).reduce((a, b) => a + b, 0));
    return floats(
      [rows, columns],
      values.map((value, i) => Math.fround(value / sums[Math.floor(i / columns)]!)),
    );
  }
}

export function floats(shape: readonly number[], values: ArrayLike<number>): DrawnTensor {
  return { type: 'float32', shape, values: Float64Array.from(values) };
}

export function integers(shape: readonly number[], values: ArrayLike<number>): DrawnTensor {
  return { type: 'int32', shape, values: Float64Array.from(values) };
}
