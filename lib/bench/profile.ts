/** Where the time of a network goes, step by step, beside the least time of each step on this machine. */
import type { Timing } from './rounds.js';
import { median } from './spread.js';

/** The best rates of the machine, measured in the same rounds. */
export interface Rates {
  /** Floating-point operations per second of a matrix product, by precision. */
  readonly gemm: number;
  /** Bytes read and written per second by a copy. */
  readonly copy: number;
}

export interface StepFigures {
  readonly label: string;
  readonly op: string;
  /** Median of the rounds. */
  readonly milliseconds: number;
  /** As a share of the time of all steps. */
  readonly share: number;
  readonly gigaflop: number;
  readonly gigaflopPerSecond: number;
  /** Bytes of all inputs and outputs, each counted once. */
  readonly bytes: number;
  readonly gigabytesPerSecond: number;
  /** The least time at the measured rates: of the matrix product or of the copy, whichever is longer. */
  readonly boundMilliseconds: number;
  readonly boundBy: 'arithmetic' | 'memory';
}

/** The steps of one op together. */
export interface OpFigures {
  readonly op: string;
  readonly steps: number;
  readonly milliseconds: number;
  readonly share: number;
  readonly gigaflopPerSecond: number;
  readonly gigabytesPerSecond: number;
  /** The sum of the bounds of its steps. */
  readonly boundMilliseconds: number;
}

export interface Profile {
  /** In the plan's order. */
  readonly steps: readonly StepFigures[];
  /** The slowest first. */
  readonly ops: readonly OpFigures[];
  /** The time of a run minus that of its steps, median of the rounds: queueing, and JavaScript. */
  readonly outsideMilliseconds: number;
}

export function profile({ contestant, seconds, steps }: Timing, { gemm, copy }: Rates): Profile {
  const times = contestant.steps.map((_, index) => median(steps.map((round) => round[index] ?? 0)) / 1e6);
  const total = sum(times);
  const figures = contestant.steps.map(({ op, label, flops, bytes }, index): StepFigures => {
    const milliseconds = times[index] as number;
    const arithmetic = (1000 * flops) / gemm;
    const memory = (1000 * bytes) / copy;
    return {
      label,
      op,
      milliseconds,
      share: ratio(milliseconds, total),
      gigaflop: flops / 1e9,
      gigaflopPerSecond: ratio(flops / 1e6, milliseconds),
      bytes,
      gigabytesPerSecond: ratio(bytes / 1e6, milliseconds),
      boundMilliseconds: Math.max(arithmetic, memory),
      boundBy: arithmetic >= memory ? 'arithmetic' : 'memory',
    };
  });
  const outside = median(seconds.map((one, round) => 1000 * one - sum(steps[round] ?? []) / 1e6));
  return { steps: figures, ops: byOp(figures), outsideMilliseconds: Math.max(0, outside) };
}

function byOp(steps: readonly StepFigures[]): OpFigures[] {
  const groups = new Map<string, StepFigures[]>();
  for (const step of steps) groups.set(step.op, [...(groups.get(step.op) ?? []), step]);
  const figures = [...groups].map(([op, members]): OpFigures => {
    const total = (field: (step: StepFigures) => number) => sum(members.map(field));
    const milliseconds = total((step) => step.milliseconds);
    return {
      op,
      steps: members.length,
      milliseconds,
      share: total((step) => step.share),
      gigaflopPerSecond: ratio(1000 * total((step) => step.gigaflop), milliseconds),
      gigabytesPerSecond: ratio(total((step) => step.bytes) / 1e6, milliseconds),
      boundMilliseconds: total((step) => step.boundMilliseconds),
    };
  });
  return figures.sort((a, b) => b.milliseconds - a.milliseconds);
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** 0 if the time is 0: a step that took no measurable time has no rate. */
function ratio(part: number, whole: number): number {
  return whole > 0 ? part / whole : 0;
}
