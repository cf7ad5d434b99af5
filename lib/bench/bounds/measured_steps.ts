/** The times of steps in a benchmark that was run, from the JSON of `bench --layers --json`, to compare with their bounds. */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { KernelWarehouseError } from '../../errors.js';
import { expectation } from '../../validation/schema_problem.js';
import { type Mode, modes, type NetworkCase } from '../contestant.js';
import type { StepBound } from './step_bounds.js';

/** The fields that are read; the file has more. */
const measuredSchema = z.object({
  machine: z.object({ device: z.string() }),
  imageSizePixels: z.number(),
  results: z.array(
    z.object({
      network: z.string(),
      mode: z.enum(modes),
      precision: z.enum(['float32', 'bfloat16']),
      batchSize: z.number(),
      profile: z
        .object({ steps: z.array(z.object({ label: z.string(), op: z.string(), milliseconds: z.number().nonnegative() })) })
        .optional(),
    }),
  ),
});

export type MeasuredReport = z.infer<typeof measuredSchema>;

/** Throws ERR_KW_DATA for a file that cannot be read or is not the report of a benchmark. */
export function readMeasured(path: string): MeasuredReport {
  const wanted = 'expected a file that `kernel-warehouse bench --layers --json FILE` wrote';
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new KernelWarehouseError('ERR_KW_DATA', `${path}: ${wanted}: ${(error as Error).message}`);
  }
  const parsed = measuredSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const problem = issue ? `: ${issue.path.join('.')}: ${expectation(issue, value)}` : '';
  throw new KernelWarehouseError('ERR_KW_DATA', `${path}: ${wanted}${problem}`);
}

/**
 * Milliseconds of each step of a network, in the plan's order; undefined if the report does not have the network in this setting. Throws
 * ERR_KW_DATA if the report has no steps, or other steps than the plan.
 */
export function measuredSteps(
  report: MeasuredReport,
  { name, mode, precision, batch, imageSize }: NetworkCase,
  steps: readonly StepBound[],
): readonly number[] | undefined {
  if (report.imageSizePixels !== imageSize) return undefined;
  const found = report.results.find(
    (result) => result.network === name && result.mode === mode && result.precision === precision && result.batchSize === batch,
  );
  if (!found) return undefined;
  const what = `the measured times of ${name} (${settingOf(mode, precision, batch)})`;
  if (!found.profile) throw new KernelWarehouseError('ERR_KW_DATA', `${what} have no steps; measure with --layers`);
  const measured = found.profile.steps;
  const different = steps.findIndex(({ label, op }, index) => measured[index]?.label !== label || measured[index]?.op !== op);
  if (different !== -1 || measured.length !== steps.length) {
    const [expected, received] = [steps, measured].map(
      (list) => list[different === -1 ? Math.min(steps.length, measured.length) : different],
    );
    const words = (step: { label: string; op: string } | undefined) => (step ? `'${step.label} ${step.op}'` : 'the end');
    throw new KernelWarehouseError(
      'ERR_KW_DATA',
      `${what} are of another plan: expected ${words(expected)} but received ${words(received)}; measure with this version`,
    );
  }
  return measured.map(({ milliseconds }) => milliseconds);
}

/** What a report has times for, in words. */
export function measuredSettings({ results, imageSizePixels }: MeasuredReport): string {
  const settings = results.map(({ network, mode, precision, batchSize }) => `${network} (${settingOf(mode, precision, batchSize)})`);
  return `${settings.join(', ') || 'nothing'} at ${imageSizePixels} pixels`;
}

function settingOf(mode: Mode, precision: string, batch: number): string {
  return `${mode}, ${precision}, batch ${batch}`;
}
