/** Interleaved timing: every contestant runs in every round, so that a machine whose speed drifts treats all alike. */
import type { StepTime } from '../runtime/program.js';
import type { Contestant } from './contestant.js';

export interface RoundOptions {
  /** Counted rounds, after one that is not. */
  readonly rounds: number;
  /** A contestant runs at least once and at least this long in each round. */
  readonly secondsPerRound: number;
  readonly onRun?: (contestant: Contestant, round: number) => void;
}

export interface Timing {
  readonly contestant: Contestant;
  /** Seconds of one run, the mean of each round. */
  readonly seconds: readonly number[];
  /** Of the contestant's fastest run. */
  readonly stepTimes: readonly StepTime[];
}

export async function runRounds(contestants: readonly Contestant[], { rounds, secondsPerRound, onRun }: RoundOptions): Promise<Timing[]> {
  const timings = contestants.map((contestant) => ({
    contestant,
    seconds: [] as number[],
    stepTimes: [] as readonly StepTime[],
    fastest: Infinity,
  }));
  for (let round = 0; round <= rounds; round++) {
    for (const timing of timings) {
      onRun?.(timing.contestant, round);
      const begun = performance.now();
      let runs = 0;
      let now = begun;
      do {
        const before = now;
        await timing.contestant.run();
        now = performance.now();
        runs++;
        if (now - before < timing.fastest) {
          timing.fastest = now - before;
          timing.stepTimes = timing.contestant.stepTimes();
        }
      } while (now - begun < 1000 * secondsPerRound);
      if (round > 0) timing.seconds.push((now - begun) / 1000 / runs);
    }
  }
  return timings;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 ? (sorted[middle] as number) : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
}
