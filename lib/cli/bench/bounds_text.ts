/** A benchmark on paper as text: tables that fit a terminal of 100 columns. */

import type { BoundedStep, BoundsReport, BoundsResult, KernelFigures } from '../../bench/bounds/bounds_report.js';
import type { Hardware } from '../../bench/bounds/hardware.js';
import type { IdealForms } from '../../bench/bounds/step_bounds.js';
import { formatRate } from '../progress.js';
import { table, wrapped } from '../table.js';
import { percent, settings, settingWords } from './speed_text.js';

/**
 * @param rows of each list of steps, the longest ones; undefined for all steps, in the plan's order
 * @param columns of the terminal; longer lines of text are wrapped, names in tables too
 */
export function boundsText(report: BoundsReport, rows: number | undefined, columns = Number.POSITIVE_INFINITY): string {
  const { hardware, tf32, imageSizePixels, measuredOn, results } = report;
  const lines = [
    ...wrapped(`on paper, nothing was measured: ${hardwareWords(hardware)}; ${tf32 ? 'TF32; ' : ''}${imageSizePixels} pixels`, columns),
    ...(measuredOn === undefined ? [] : [`measured: on ${measuredOn}`]),
  ];
  for (const [heading, group] of settings(results)) lines.push('', heading, overview(group, columns));
  for (const [heading, group] of settings(results)) {
    const dynamic = group.filter((result) => result.ratioToOther !== undefined);
    if (dynamic.length > 0)
      lines.push('', `${heading}: mixed weights in one place throughout, nothing read twice`, idealTable(dynamic, columns));
  }
  for (const result of results) lines.push('', ...details(result, rows, columns));
  return lines.join('\n');
}

function hardwareWords(hardware: Hardware): string {
  return (
    `${hardware.name}, bfloat16 ${hardware.bfloat16TeraflopsPerSecond}, tf32 ${hardware.tf32TeraflopsPerSecond}, float32 ` +
    `${hardware.float32TeraflopsPerSecond} TFLOP/s; memory ${hardware.memoryTerabytesPerSecond}, L2 ${hardware.l2TerabytesPerSecond} TB/s; ` +
    `launch ${hardware.launchMicroseconds} us`
  );
}

function overview(results: readonly BoundsResult[], columns: number): string {
  const head = [
    'network',
    'bound ms',
    'images/s',
    'of\nstatic',
    'launches',
    'with launches\nimages/s',
    'GFLOP\nan image',
    'memory GB',
    'L2 GB',
  ];
  const measured = results.some(({ measuredMilliseconds }) => measuredMilliseconds !== undefined);
  return table(
    [...head, ...(measured ? ['measured ms', 'reached'] : [])],
    results.map((result) => [
      result.network,
      result.boundMilliseconds.toFixed(3),
      formatRate(result.imagesPerSecond),
      result.ratioToOther?.ratio.toFixed(2) ?? '-',
      String(result.launches),
      formatRate(result.imagesPerSecondWithLaunches),
      result.gigaflopPerImage.toFixed(2),
      (result.memoryBytes / 1e9).toFixed(2),
      (result.l2Bytes / 1e9).toFixed(2),
      ...(measured ? reached(result.boundMilliseconds, result.measuredMilliseconds, 3) : []),
    ]),
    columns,
  );
}

function idealTable(results: readonly BoundsResult[], columns: number): string {
  const cells = (result: BoundsResult, form: keyof IdealForms) => [
    result.idealMilliseconds[form].toFixed(3),
    result.ratioToOther?.idealRatios[form].toFixed(2) ?? '-',
  ];
  return table(
    ['network', 'in memory\nms', 'of\nstatic', 'in L2\nms', 'of\nstatic', 'in the cores\nms', 'of\nstatic', 'chosen\nms', 'of\nstatic'],
    results.map((result) => [
      result.network,
      ...cells(result, 'weightsInMemory'),
      ...cells(result, 'weightsInL2'),
      ...cells(result, 'weightsInCores'),
      result.boundMilliseconds.toFixed(3),
      result.ratioToOther?.ratio.toFixed(2) ?? '-',
    ]),
    columns,
  );
}

function details(result: BoundsResult, rows: number | undefined, columns: number): string[] {
  const { steps, kernels, boundMillisecondsBy } = result;
  const name = `${result.network}, ${settingWords(result)}`;
  const shown = rows === undefined ? steps : [...steps].sort((a, b) => b.boundMicroseconds - a.boundMicroseconds).slice(0, rows);
  const measured = result.measuredMilliseconds !== undefined;
  const bound = Object.entries(boundMillisecondsBy).map(([resource, milliseconds]) => `${resource} ${milliseconds.toFixed(3)} ms`);
  const timeHead = measured ? ['measured us', 'reached'] : [];
  return [
    `${name}: sums by op and kernel; bound by ${bound.join(', ')}`,
    table(
      ['op', 'kernel', 'steps', 'launches', 'GFLOP', 'memory MB', 'L2 MB', 'bound us', 'share', ...timeHead],
      kernels.map((figures) => kernelRow(figures, measured)),
      columns,
    ),
    rows === undefined ? `${name}: all ${steps.length} steps` : `${name}: the longest of ${steps.length} steps`,
    table(
      ['layer, op', 'kernel', 'launches', 'GFLOP', 'memory MB', 'L2 MB', 'bound us', 'bound by', ...timeHead],
      shown.map((step) => stepRow(step, measured)),
      columns,
    ),
  ];
}

function kernelRow(figures: KernelFigures, measured: boolean): string[] {
  const { op, kernel, steps, launches, share, boundMicroseconds, measuredMicroseconds } = figures;
  return [
    op,
    kernel,
    String(steps),
    String(launches),
    ...amounts(figures),
    boundMicroseconds.toFixed(1),
    percent(share, 1),
    ...(measured ? reached(boundMicroseconds, measuredMicroseconds, 1) : []),
  ];
}

function stepRow(step: BoundedStep, measured: boolean): string[] {
  const { label, op, kernel, launches, boundMicroseconds, boundBy, measuredMicroseconds } = step;
  return [
    `${label} ${op}`,
    kernel,
    String(launches),
    ...amounts(step),
    boundMicroseconds.toFixed(1),
    boundBy,
    ...(measured ? reached(boundMicroseconds, measuredMicroseconds, 1) : []),
  ];
}

function amounts({ gigaflop, memoryBytes, l2Bytes }: { gigaflop: number; memoryBytes: number; l2Bytes: number }): string[] {
  return [gigaflop.toFixed(1), (memoryBytes / 1e6).toFixed(1), (l2Bytes / 1e6).toFixed(1)];
}

/** A measured time, and the bound as a share of it. */
function reached(bound: number, measured: number | undefined, digits: number): string[] {
  return measured === undefined ? ['-', '-'] : [measured.toFixed(digits), measured > 0 ? percent(bound / measured) : '-'];
}
