/** The figures of a benchmark, all from one run. Names carry the units; `docs/benchmarks.md` says what each figure contains. */

import type { Precision } from '../graph/passes/precision.js';
import type { NetworkCase } from './contestant.js';
import type { MemoryFigures } from './memory.js';
import { type Profile, profile } from './profile.js';
import type { Timing } from './rounds.js';
import { median, type Spread, spread } from './spread.js';

/** A network and its figures; `timing` is missing if it was not timed. */
export interface CaseOutcome {
  readonly network: NetworkCase;
  readonly timing?: Timing;
  readonly memory?: MemoryFigures;
  /** The static network of the same mode, precision and batch, in the same rounds. */
  readonly against?: CaseOutcome;
  /** Why it was not timed, in words. */
  readonly problem?: string;
}

export interface Setting {
  readonly network: string;
  readonly mode: NetworkCase['mode'];
  readonly precision: Precision;
  readonly batchSize: number;
}

export interface Result extends Setting {
  readonly imagesPerSecond: Spread;
  readonly millisecondsPerRun: Spread;
  /** The mean of the runs in each counted round, in order. */
  readonly millisecondsOfRounds: readonly number[];
  readonly gigaflopPerImage: number;
  readonly gigaflopPerSecond: number;
  /** Its floating-point rate, divided by that of the matrix product in the same precision, round by round. */
  readonly ratioToMatrixProduct: Spread;
  /** Its images per second, divided by those of another network, round by round. */
  readonly ratioToOther?: { readonly network: string } & Spread;
  /** Bytes on the device: all buffers, the largest scratch area, converted copies of parameters. */
  readonly plannedBytes: number;
  /** Bytes by which the resident memory of a process of its own grew; undefined if it was not measured. */
  readonly measuredBytes?: number;
  readonly profile?: Profile;
}

export interface Unmeasured extends Setting {
  readonly problem: string;
}

export interface MachineFacts {
  readonly machine: {
    readonly processor: string;
    readonly processors: number;
    readonly instructions: readonly string[];
    readonly memoryBytes: number;
    readonly system: string;
    readonly device: string;
    /** The device by name, such as 'NVIDIA H100 80GB HBM3'. */
    readonly deviceDescription: string;
    /** Whether float32 products were rounded to TF32. */
    readonly tf32: boolean;
    readonly threads: number;
    readonly physicalCores: number;
  };
  readonly versions: {
    readonly kernelWarehouse: string;
    readonly node: string;
    /** The library's file name, which carries its version. */
    readonly oneDnn: string | undefined;
  };
  readonly command: string;
  /** When the figures were complete, ISO 8601. */
  readonly date: string;
}

export interface BenchReport extends MachineFacts {
  /** Whether the run was stopped before all rounds were done. */
  readonly partial: boolean;
  readonly imageSizePixels: number;
  /** Counted rounds, after the warm-up. */
  readonly rounds: number;
  /** Each network's least time in each round. */
  readonly secondsPerRound: number;
  readonly matrixProducts: readonly { readonly precision: Precision; readonly gigaflopPerSecond: Spread }[];
  /** Undefined unless the layers were asked for. */
  readonly copyGigabytesPerSecond?: Spread;
  readonly results: readonly Result[];
  readonly unmeasured: readonly Unmeasured[];
}

export interface Measured {
  readonly facts: MachineFacts;
  readonly partial: boolean;
  readonly imageSize: number;
  readonly rounds: number;
  readonly secondsPerRound: number;
  /** The timing of the matrix product in each precision that occurs, and always in float32. */
  readonly gemm: ReadonlyMap<Precision, Timing>;
  /** The timing of the copy, if a profile is wanted. */
  readonly copy?: Timing;
  readonly cases: readonly CaseOutcome[];
}

export function benchReport({ facts, partial, imageSize, rounds, secondsPerRound, gemm, copy, cases }: Measured): BenchReport {
  const gemmRates = new Map([...gemm].map(([precision, timing]) => [precision, ratesOf(timing, flopsOf(timing))]));
  const copyRates = copy && ratesOf(copy, bytesOf(copy));
  const results: Result[] = [];
  const unmeasured: Unmeasured[] = [];
  for (const outcome of cases) {
    const { network, timing, problem } = outcome;
    const gemmRate = gemmRates.get(network.precision);
    if (timing && timing.seconds.length > 0 && gemmRate) results.push(result(outcome, timing, gemmRate, copyRates));
    else unmeasured.push({ ...setting(network), problem: problem ?? 'stopped before its first counted round' });
  }
  const giga = (rates: readonly number[]): Spread => spread(rates.map((rate) => rate / 1e9));
  return {
    ...facts,
    partial,
    imageSizePixels: imageSize,
    rounds,
    secondsPerRound,
    matrixProducts: [...gemmRates].flatMap(([precision, rates]) =>
      rates.length > 0 ? [{ precision, gigaflopPerSecond: giga(rates) }] : [],
    ),
    ...(copyRates && copyRates.length > 0 ? { copyGigabytesPerSecond: giga(copyRates) } : {}),
    results,
    unmeasured,
  };
}

function result(
  { network, memory, against }: CaseOutcome,
  timing: Timing,
  gemmRates: readonly number[],
  copyRates?: readonly number[],
): Result {
  const { contestant, seconds, steps } = timing;
  const flops = flopsOf(timing);
  const milliseconds = seconds.map((one) => 1000 * one);
  const other = against?.timing?.seconds;
  return {
    ...setting(network),
    imagesPerSecond: spread(seconds.map((one) => contestant.images / one)),
    millisecondsPerRun: spread(milliseconds),
    millisecondsOfRounds: milliseconds,
    gigaflopPerImage: flops / contestant.images / 1e9,
    gigaflopPerSecond: flops / median(seconds) / 1e9,
    ratioToMatrixProduct: spread(seconds.map((one, round) => flops / one / (gemmRates[round] as number))),
    ...(against && other
      ? { ratioToOther: { network: against.network.name, ...spread(seconds.map((one, round) => (other[round] as number) / one)) } }
      : {}),
    plannedBytes: contestant.bytes,
    ...(memory ? { measuredBytes: memory.measured } : {}),
    ...(steps.length > 0 && copyRates ? { profile: profile(timing, { gemm: median(gemmRates), copy: median(copyRates) }) } : {}),
  };
}

function setting({ name, mode, precision, batch }: NetworkCase): Setting {
  return { network: name, mode, precision, batchSize: batch };
}

/** How much one run does of something, divided by the time of each round. */
function ratesOf({ seconds }: Timing, amount: number): number[] {
  return seconds.map((one) => amount / one);
}

function flopsOf({ contestant }: Timing): number {
  return contestant.steps.reduce((sum, { flops }) => sum + flops, 0);
}

function bytesOf({ contestant }: Timing): number {
  return contestant.steps.reduce((sum, { bytes }) => sum + bytes, 0);
}
