/** Interleaved timing: every contestant runs in every round, so that drifts in the speed of the machine affect all alike. */
import type { Contestant } from './contestant.js';

export interface RoundOptions {
  /** Counted rounds. One uncounted round goes before them, in which conversions happen and the clock settles. */
  readonly rounds: number;
  /** In each round a contestant runs at least once (in the uncounted one twice), and at least this long. */
  readonly secondsPerRound: number;
  /** Keep the time of each step too; default false. */
  readonly steps?: boolean;
  /** Ends the rounds after the current run. The round that it interrupts does not count, for any contestant. */
  readonly signal?: AbortSignal;
  /** Called before each turn of a contestant; round 0 does not count. */
  readonly onTurn?: (contestant: Contestant, round: number) => void;
}

export interface Timing {
  readonly contestant: Contestant;
  /** Seconds of one run, the mean of each counted round. */
  readonly seconds: readonly number[];
  /** Nanoseconds of each step, the mean of each counted round: [round][step]; empty unless they were asked for. */
  readonly steps: readonly (readonly number[])[];
}

/** About the resolution of performance.now: a run that seems to take no time took less than this. */
const CLOCK_STEP_SECONDS = 1e-6;

interface Turn {
  readonly seconds: number;
  readonly steps: readonly number[];
}

/** Counted rounds that all contestants finished: as many as asked for, or fewer after the signal. */
export async function runRounds(contestants: readonly Contestant[], options: RoundOptions): Promise<Timing[]> {
  const { rounds, signal, onTurn } = options;
  const counted: Turn[][] = [];
  for (let round = 0; round <= rounds; round++) {
    const turns: Turn[] = [];
    for (const contestant of contestants) {
      onTurn?.(contestant, round);
      const turn = await takeTurn(contestant, round === 0 ? 2 : 1, options);
      if (signal?.aborted) return timings(contestants, counted);
      turns.push(turn);
    }
    if (round > 0) counted.push(turns);
  }
  return timings(contestants, counted);
}

async function takeTurn(contestant: Contestant, leastRuns: number, { secondsPerRound, steps, signal }: RoundOptions): Promise<Turn> {
  let runs = 0;
  let milliseconds = 0;
  let sums: number[] = [];
  let timedRuns = 0;
  const { runsInFlight } = contestant;
  const addSteps = (): void => {
    sums = contestant.stepNanoseconds().map((nanoseconds, index) => nanoseconds + (sums[index] ?? 0));
    timedRuns++;
  };
  while (!signal?.aborted && (runs < leastRuns || milliseconds < 1000 * secondsPerRound)) {
    const before = performance.now();
    await Promise.all(Array.from({ length: runsInFlight }, () => contestant.run()));
    milliseconds += Math.max(performance.now() - before, 1000 * CLOCK_STEP_SECONDS);
    runs += runsInFlight;
    if (steps && contestant.timesEveryRun) addSteps();
  }
  if (steps && !contestant.timesEveryRun && !signal?.aborted) {
    await contestant.runTimed();
    addSteps();
  }
  return { seconds: milliseconds / 1000 / runs, steps: sums.map((sum) => sum / timedRuns) };
}

function timings(contestants: readonly Contestant[], counted: readonly (readonly Turn[])[]): Timing[] {
  return contestants.map((contestant, index) => {
    const turns = counted.map((round) => round[index] as Turn);
    return {
      contestant,
      seconds: turns.map(({ seconds }) => seconds),
      steps: turns.map(({ steps }) => steps).filter((steps) => steps.length > 0),
    };
  });
}
