/** A benchmark's report as text: tables that fit a terminal of 80 columns. */
import type { Profile, StepFigures } from '../../bench/profile.js';
import type { BenchReport, Result, Setting } from '../../bench/report.js';
import type { Spread } from '../../bench/spread.js';
import type { PaperTable } from '../../paper/printed_tables.js';
import type { ComparedReport, ComparedResult } from '../../paper/speed.js';
import { formatBytes, formatShare } from '../figures.js';
import { formatRate } from '../progress.js';
import { table, wrapped } from '../table.js';

/**
 * @param rows of each list of steps; 0 for no lists
 * @param columns of the terminal; longer lines of text are wrapped, names in tables too
 */
export function speedText(report: BenchReport | ComparedReport, rows: number, columns = Number.POSITIVE_INFINITY): string {
  const { machine, versions, results, unmeasured, partial, rounds, imageSizePixels } = report;
  const printed = 'table' in report ? report.table : undefined;
  const count = `${partial ? 'stopped after' : 'medians of'} ${rounds} round${rounds === 1 ? '' : 's'}`;
  const rates = report.matrixProducts.map(({ precision, gigaflopPerSecond }) => `${precision} ${rate(gigaflopPerSecond)} GFLOP/s`);
  const { copyGigabytesPerSecond: copy } = report;
  const lines = [
    ...(printed ? tableWords(printed).flatMap((text) => wrapped(text, columns)) : []),
    ...wrapped(`${deviceWords(machine)}; Node ${versions.node}; ${imageSizePixels} pixels; ${count}`, columns),
    ...wrapped(`matrix product ${rates.join(', ')}${copy ? `; copy ${rate(copy)} GB/s` : ''}`, columns),
  ];
  for (const [heading, group] of settings([...results, ...unmeasured])) {
    lines.push('', heading);
    const measured = group.filter((one): one is ComparedResult => 'imagesPerSecond' in one);
    if (measured.length > 0) lines.push(overview(measured, columns));
    for (const one of group) if ('problem' in one) lines.push(...wrapped(`${one.network}: ${one.problem}`, columns));
  }
  if (rows > 0) for (const result of results) if (result.profile) lines.push('', ...layers(result, result.profile, rows, columns));
  return lines.join('\n');
}

/** The heading of figures that are compared with a table of the paper. */
export function tableWords({ number, title, note }: Pick<PaperTable, 'number' | 'title' | 'note'>): string[] {
  return [`Table ${number}: ${title}`, ...(note === undefined ? [] : [note])];
}

export function deviceWords({ device, deviceDescription, processor, threads, tf32 }: BenchReport['machine']): string {
  return device === 'cpu' ? `${processor}, ${threads} threads` : `${deviceDescription}${tf32 ? ', TF32' : ''}`;
}

/** Results grouped by the settings that they share. */
export function settings<T extends Setting>(entries: readonly T[]): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const entry of entries) {
    const heading = settingWords(entry);
    groups.set(heading, [...(groups.get(heading) ?? []), entry]);
  }
  return groups;
}

export function settingWords({ mode, precision, batchSize }: Setting): string {
  return `${mode}, ${precision}, batch ${batchSize}`;
}

interface Column {
  readonly head: string;
  /** Undefined if the result has no such figure, or the paper's takes its place. A column without any figure is left out. */
  readonly cell: (result: ComparedResult) => string | undefined;
}

function overview(results: readonly ComparedResult[], columns: number): string {
  const others = new Set(results.flatMap(({ ratioToOther }) => (ratioToOther ? [ratioToOther.network] : [])));
  const all: readonly Column[] = [
    { head: 'network', cell: ({ network }) => network },
    { head: 'images/s', cell: ({ imagesPerSecond }) => formatRate(imagesPerSecond.median) },
    { head: 'quartiles', cell: ({ imagesPerSecond }) => quartiles(imagesPerSecond) },
    { head: others.size === 1 ? `of ${[...others]}` : 'of\nstatic', cell: ({ ratioToOther }) => ratioToOther?.median.toFixed(2) },
    { head: "paper's\nimages/s", cell: ({ paper }) => paper?.imagesPerSecond.toFixed(1) },
    { head: "paper's of\nstatic", cell: ({ paper }) => paper?.ratioToStatic.toFixed(2) },
    { head: 'of matrix\nproduct', cell: ({ ratioToMatrixProduct, paper }) => (paper ? undefined : percent(ratioToMatrixProduct.median)) },
    { head: 'memory\nplanned', cell: ({ plannedBytes, paper }) => (paper ? undefined : formatBytes(plannedBytes)) },
    { head: 'memory\npeak', cell: ({ measuredBytes }) => (measuredBytes === undefined ? undefined : formatBytes(measuredBytes)) },
  ];
  const shown = all.filter(({ cell }) => results.some((result) => cell(result) !== undefined));
  return table(
    shown.map(({ head }) => head),
    results.map((result) => shown.map(({ cell }) => cell(result) ?? '-')),
    columns,
  );
}

function layers(result: Result, figures: Profile, rows: number, columns: number): string[] {
  const { steps, ops, outsideMilliseconds } = figures;
  const slowest = [...steps].sort((a, b) => b.milliseconds - a.milliseconds).slice(0, rows);
  const total = steps.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
  const shown = slowest.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
  const left = steps.length - slowest.length;
  const rest = `${left} more step${left === 1 ? '' : 's'}`;
  const furtherOps = ops.slice(rows);
  const furtherTime = furtherOps.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
  const head = ['ms', 'share', 'GFLOP/s', 'GB/s', 'bound ms', 'bound by'];
  const stepRow = ({ label, op, milliseconds, share, gigaflopPerSecond, gigabytesPerSecond, boundMilliseconds, boundBy }: StepFigures) => [
    `${label} ${op}`,
    milliseconds.toFixed(2),
    percent(share, 1),
    whole(gigaflopPerSecond),
    gigabytesPerSecond.toFixed(1),
    boundMilliseconds.toFixed(2),
    boundBy,
  ];
  return [
    `${result.network}, ${settingWords(result)}: the slowest of ${steps.length} steps`,
    table(
      ['layer, op', ...head],
      [
        ...slowest.map(stepRow),
        ...(left > 0 ? [[rest, (total - shown).toFixed(2), formatShare(total - shown, total), '', '', '', '']] : []),
      ],
      columns,
    ),
    `${result.network}, ${settingWords(result)}: sums by op`,
    table(
      ['op', 'steps', 'ms', 'share', 'GFLOP/s', 'GB/s', 'bound ms'],
      [
        ...ops
          .slice(0, rows)
          .map(({ op, steps: number, milliseconds, share, gigaflopPerSecond, gigabytesPerSecond, boundMilliseconds }) => [
            op,
            String(number),
            milliseconds.toFixed(2),
            percent(share, 1),
            whole(gigaflopPerSecond),
            gigabytesPerSecond.toFixed(1),
            boundMilliseconds.toFixed(2),
          ]),
        ...(furtherOps.length > 0
          ? [[`${furtherOps.length} more`, '', furtherTime.toFixed(2), formatShare(furtherTime, total), '', '', '']]
          : []),
        ['outside of steps', '', outsideMilliseconds.toFixed(2), '', '', '', ''],
      ],
      columns,
    ),
  ];
}

function rate({ median, lowerQuartile, upperQuartile }: Spread): string {
  return `${formatRate(median)} (${formatRate(lowerQuartile)} - ${formatRate(upperQuartile)})`;
}

function quartiles({ lowerQuartile, upperQuartile }: Spread): string {
  return `${formatRate(lowerQuartile)} - ${formatRate(upperQuartile)}`;
}

export function percent(part: number, digits = 0): string {
  return `${(100 * part).toFixed(digits)} %`;
}

function whole(value: number): string {
  return value.toFixed(0);
}
