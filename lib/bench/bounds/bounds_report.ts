/** A benchmark on paper: the bounds of the steps of networks on a processor, summed and compared. Nothing runs. */
import { KernelWarehouseError } from '../../errors.js';
import { Model } from '../../models/model.js';
import { type NetworkCase, networkPlan } from '../contestant.js';
import type { Setting } from '../report.js';
import type { Hardware } from './hardware.js';
import { type MeasuredReport, measuredSettings, measuredSteps } from './measured_steps.js';
import { type BoundOptions, type IdealForms, type Resource, resources, type StepBound, stepBounds } from './step_bounds.js';

/** A step, and its measured time where that is known. */
export interface BoundedStep extends StepBound {
  readonly measuredMicroseconds?: number;
}

/** The steps of one op that run on the same kind of kernel. */
export interface KernelFigures {
  readonly op: string;
  readonly kernel: StepBound['kernel'];
  readonly steps: number;
  readonly launches: number;
  readonly gigaflop: number;
  readonly memoryBytes: number;
  readonly l2Bytes: number;
  readonly boundMicroseconds: number;
  /** As a share of the bounds of all steps. */
  readonly share: number;
  readonly measuredMicroseconds?: number;
}

export interface BoundsResult extends Setting {
  /** The sum of the steps' bounds. */
  readonly boundMilliseconds: number;
  /** Kernels that one run launches. */
  readonly launches: number;
  readonly launchMilliseconds: number;
  /** At the bound, without launches. */
  readonly imagesPerSecond: number;
  /** At the bound, with launches. */
  readonly imagesPerSecondWithLaunches: number;
  /** Its images per second, divided by those of another network, both at their bounds. */
  readonly ratioToOther?: { readonly network: string; readonly ratio: number; readonly idealRatios: IdealForms };
  readonly gigaflopPerImage: number;
  readonly memoryBytes: number;
  readonly l2Bytes: number;
  /** The sums of the steps' bounds if all mixed weights were in one place and nothing were read twice. */
  readonly idealMilliseconds: IdealForms;
  /** Milliseconds of the steps that each of the three binds. */
  readonly boundMillisecondsBy: Readonly<Record<Resource, number>>;
  readonly measuredMilliseconds?: number;
  /** The slowest first. */
  readonly kernels: readonly KernelFigures[];
  /** In the plan's order. */
  readonly steps: readonly BoundedStep[];
}

export interface BoundsReport {
  readonly hardware: Hardware;
  readonly tf32: boolean;
  readonly imageSizePixels: number;
  readonly command: string;
  /** The device on which the times were measured, if there are any. */
  readonly measuredOn?: string;
  readonly results: readonly BoundsResult[];
}

/** A network, and the static one that it is compared with. */
export interface BoundsCase {
  readonly network: NetworkCase;
  readonly against?: BoundsCase;
}

export interface BoundsOptions extends BoundOptions {
  readonly imageSize: number;
  readonly command: string;
  readonly measured?: MeasuredReport;
}

/** Throws ERR_KW_SHAPE for images that are too small, ERR_KW_DATA for measured times of other networks or steps, and what `Model` throws. */
export function boundsReport(cases: readonly BoundsCase[], options: BoundsOptions): BoundsReport {
  const { hardware, tf32, imageSize, command, measured } = options;
  const results = new Map<BoundsCase, BoundsResult>();
  for (const one of cases) {
    const other = one.against && results.get(one.against);
    results.set(one, boundsResult(one.network, options, other));
  }
  if (measured && ![...results.values()].some((result) => result.measuredMilliseconds !== undefined)) {
    throw new KernelWarehouseError(
      'ERR_KW_DATA',
      `the measured times have none of the networks in this mode, precision, batch size and image size; they have ${measuredSettings(measured)}`,
    );
  }
  const measuredOn = measured ? { measuredOn: measured.machine.device } : {};
  return { hardware, tf32, imageSizePixels: imageSize, command, ...measuredOn, results: [...results.values()] };
}

function boundsResult(network: NetworkCase, options: BoundsOptions, other: BoundsResult | undefined): BoundsResult {
  const { name, mode, precision, batch } = network;
  const bounds = stepBounds(networkPlan(new Model(network.model), network), options);
  const times = options.measured && measuredSteps(options.measured, network, bounds);
  const steps = bounds.map(
    (step, index): BoundedStep => ({ ...step, ...(times ? { measuredMicroseconds: 1000 * (times[index] as number) } : {}) }),
  );
  const total = (figure: (step: StepBound) => number): number => sum(bounds.map(figure));
  const boundMilliseconds = total((step) => step.boundMicroseconds) / 1000;
  const launches = total((step) => step.launches);
  const launchMilliseconds = (launches * options.hardware.launchMicroseconds) / 1000;
  const idealMilliseconds = idealForms((form) => total((step) => step.idealMicroseconds[form]) / 1000);
  return {
    network: name,
    mode,
    precision,
    batchSize: batch,
    boundMilliseconds,
    launches,
    launchMilliseconds,
    imagesPerSecond: (1000 * batch) / boundMilliseconds,
    imagesPerSecondWithLaunches: (1000 * batch) / (boundMilliseconds + launchMilliseconds),
    ...(other
      ? {
          ratioToOther: {
            network: other.network,
            ratio: other.boundMilliseconds / boundMilliseconds,
            idealRatios: idealForms((form) => other.boundMilliseconds / idealMilliseconds[form]),
          },
        }
      : {}),
    gigaflopPerImage: total((step) => step.gigaflop) / batch,
    memoryBytes: total((step) => step.memoryBytes),
    l2Bytes: total((step) => step.l2Bytes),
    idealMilliseconds,
    boundMillisecondsBy: Object.fromEntries(
      resources.map((resource) => [resource, total((step) => (step.boundBy === resource ? step.boundMicroseconds : 0)) / 1000]),
    ) as Record<Resource, number>,
    ...(times ? { measuredMilliseconds: sum(times) } : {}),
    kernels: byKernel(steps, 1000 * boundMilliseconds),
    steps,
  };
}

function idealForms(figure: (form: keyof IdealForms) => number): IdealForms {
  return {
    weightsInMemory: figure('weightsInMemory'),
    weightsInL2: figure('weightsInL2'),
    weightsInCores: figure('weightsInCores'),
  };
}

function byKernel(steps: readonly BoundedStep[], whole: number): KernelFigures[] {
  const groups = new Map<string, BoundedStep[]>();
  for (const step of steps) {
    const key = `${step.op} ${step.kernel}`;
    groups.set(key, [...(groups.get(key) ?? []), step]);
  }
  const figures = [...groups.values()].map((members): KernelFigures => {
    const [{ op, kernel, measuredMicroseconds }] = members as [BoundedStep];
    const total = (figure: (step: BoundedStep) => number): number => sum(members.map(figure));
    const boundMicroseconds = total((step) => step.boundMicroseconds);
    return {
      op,
      kernel,
      steps: members.length,
      launches: total((step) => step.launches),
      gigaflop: total((step) => step.gigaflop),
      memoryBytes: total((step) => step.memoryBytes),
      l2Bytes: total((step) => step.l2Bytes),
      boundMicroseconds,
      share: boundMicroseconds / whole,
      ...(measuredMicroseconds === undefined ? {} : { measuredMicroseconds: total((step) => step.measuredMicroseconds ?? 0) }),
    };
  });
  return figures.sort((a, b) => b.boundMicroseconds - a.boundMicroseconds);
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
