/** A benchmark's figures, all from one run. */
import { cpus, release } from 'node:os';
import type { Device } from '../runtime/device.js';
import { median, type Timing } from './rounds.js';

export interface LayerFigures {
  readonly label: string;
  readonly op: string;
  readonly milliseconds: number;
  /** Of the whole run's time. */
  readonly share: number;
}

export interface Figures {
  readonly name: string;
  /** Images of one run. */
  readonly batch: number;
  readonly milliseconds: { readonly median: number; readonly minimum: number; readonly maximum: number };
  readonly imagesPerSecond: number;
  readonly gigaflopPerImage: number;
  readonly gigaflopPerSecond: number;
  /** To the matrix product's rate, round by round; the median. */
  readonly ofGemm: number;
  readonly megabytes: number;
  readonly steps: readonly LayerFigures[];
}

export interface BenchReport {
  readonly machine: {
    readonly cpu: string;
    readonly threads: number;
    readonly system: string;
    readonly node: string;
    readonly date: string;
  };
  readonly command: string;
  /** The matrix product's rate. */
  readonly gemmGigaflopPerSecond: number;
  readonly rounds: number;
  readonly results: readonly Figures[];
}

function figures({ contestant, seconds, stepTimes }: Timing, gemmRates: readonly number[]): Figures {
  const { name, images, flops, bytes } = contestant;
  const middle = median(seconds);
  const total = stepTimes.reduce((sum, { nanoseconds }) => sum + nanoseconds, 0);
  return {
    name,
    batch: images,
    milliseconds: { median: 1000 * middle, minimum: 1000 * Math.min(...seconds), maximum: 1000 * Math.max(...seconds) },
    imagesPerSecond: images / middle,
    gigaflopPerImage: flops / images / 1e9,
    gigaflopPerSecond: flops / middle / 1e9,
    ofGemm: median(seconds.map((value, round) => flops / value / (gemmRates[round] as number))),
    megabytes: bytes / 1e6,
    steps: stepTimes.map(({ op, label, nanoseconds }) => ({ op, label, milliseconds: nanoseconds / 1e6, share: nanoseconds / total })),
  };
}

/** `gemm` is the timing of the matrix product that ran in the same rounds. */
export function benchReport(device: Device, command: string, gemm: Timing, networks: readonly Timing[]): BenchReport {
  const rates = gemm.seconds.map((seconds) => gemm.contestant.flops / seconds);
  return {
    machine: {
      cpu: cpus()[0]?.model.trim() ?? 'unknown',
      threads: device.threads,
      system: `${process.platform} ${process.arch} ${release()}`,
      node: process.version,
      date: new Date().toISOString(),
    },
    command,
    gemmGigaflopPerSecond: median(rates) / 1e9,
    rounds: gemm.seconds.length,
    results: networks.map((timing) => figures(timing, rates)),
  };
}
