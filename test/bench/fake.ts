/** Contestants whose runs take known times, on a clock that only they move. */
import type { TestFn } from 'ava';
import type { Contestant } from '../../lib/bench/contestant.js';

/** Milliseconds on the clock. */
let now = 0;

/** Puts the clock in the place of performance.now for the tests of a file, which must be serial. */
export function useFakeClock(test: TestFn): void {
  const real = performance.now;
  test.before(() => {
    performance.now = () => now;
  });
  test.after.always(() => {
    performance.now = real;
  });
}

export interface FakeOptions {
  readonly name: string;
  /** Milliseconds of each run, in order; the last one stays. */
  readonly times: readonly number[];
  readonly images?: number;
  readonly flops?: number;
  readonly bytes?: number;
  readonly onRun?: () => void;
}

export interface Fake extends Contestant {
  readonly runs: () => number;
}

/** Its steps are two: `first` takes a quarter of each run, `second` the rest; each has half of the operations and bytes moved. */
export function fake({ name, times, images = 1, flops = 1e9, bytes = 1e6, onRun }: FakeOptions): Fake {
  let runs = 0;
  let last = 0;
  const step = (label: string, op: string) => ({ label, op, flops: flops / 2, bytes: bytes / 2 });
  return {
    name,
    images,
    steps: [step('first', 'conv2d'), step('second', 'relu')],
    bytes: 1000,
    runsInFlight: 1,
    timesEveryRun: true,
    runTimed: async () => {},
    run: async () => {
      last = times[Math.min(runs++, times.length - 1)] ?? 0;
      now += last;
      onRun?.();
    },
    stepNanoseconds: () => [0.25e6 * last, 0.75e6 * last],
    runs: () => runs,
    [Symbol.dispose]: () => undefined,
  };
}
