/** results/summary.md: what ran where, what passed, and the tables of figures. Made anew from the result files after every part. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { resultOf } from './runner.mjs';

function table(head, rows) {
  const line = (cells) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)];
}

const rate = (value) => (value >= 100 ? Math.round(value).toLocaleString('en') : value.toPrecision(3));
const rates = ({ median, lowerQuartile, upperQuartile }) => [rate(median), `${rate(lowerQuartile)} - ${rate(upperQuartile)}`];
const gibibytes = (bytes) => (typeof bytes === 'number' ? (bytes / 2 ** 30).toFixed(2) : '');

function machineLines({ gpus = [], versions = {}, doctor }) {
  const gpu = gpus.map(
    (each) =>
      `${each.name}, driver ${each.driver_version}, ${each['memory.total']}, at most ${each['clocks.max.sm']} (memory ${each['clocks.max.mem']}), ${each['power.limit']}`,
  );
  const libraries = doctor?.cuda?.report?.libraries ?? [];
  return [
    `GPU: ${gpu.join('; ') || 'none'}`,
    ...Object.entries(versions).map(([name, version]) => `${name}: ${version}`),
    ...libraries.filter(({ version }) => version).map(({ name, version }) => `${name}: ${version}`),
  ].map((text) => `- ${text}`);
}

function partRow(part, result) {
  if (result === undefined) return [part.name, 'not run', '', ''];
  return [part.name, result.passed ? 'passed' : '**failed**', result.counts.join('; '), `${result.seconds} s`];
}

function clockLine(clocks) {
  if (!clocks) return [];
  const words = Object.entries(clocks).map(([field, { least, median, greatest }]) => `${field} ${median} (${least} - ${greatest})`);
  return ['', `Clocks in MHz, power in W, degrees Celsius, medians with least and greatest: ${words.join('; ')}`];
}

function benchmarkLines(results) {
  const parts = results.filter((result) => result?.part.startsWith('bench-') && result.figures.rows?.length > 0);
  return parts.flatMap(({ part, figures, commands }) => [
    '',
    `### ${part}`,
    '',
    ...table(
      ['network', 'precision', 'batch', 'images/s', 'quartiles', 'of static', 'bound images/s', 'of bound', 'GiB planned'],
      figures.rows.map((row) => [
        row.network,
        row.precision,
        row.batchSize,
        ...rates(row.imagesPerSecond),
        row.ratioToStatic?.toFixed(2) ?? '',
        row.boundImagesPerSecond === undefined ? '' : rate(row.boundImagesPerSecond),
        row.boundImagesPerSecond === undefined ? '' : (row.imagesPerSecond.median / row.boundImagesPerSecond).toFixed(2),
        gibibytes(row.plannedBytes),
      ]),
    ),
    ...clockLine(figures.clocks),
    ...(figures.note ? ['', figures.note] : []),
    ...commandLines(commands.filter((command) => command.includes(' bench '))),
  ]);
}

function peerLines(results) {
  const parts = results.filter((result) => result?.part.startsWith('peers-') && result.figures.rows?.length > 0);
  return parts.flatMap(({ part, figures }) => [
    '',
    `### ${part}`,
    '',
    `bfloat16; ${figures.rounds} interleaved rounds; ${JSON.stringify(figures.facts.torch)}`,
    '',
    ...table(
      ['contestant', 'images/s', 'quartiles', 'GiB', 'ours to it'],
      figures.rows.map((row) => [
        row.name,
        ...rates(row.imagesPerSecond),
        gibibytes(row.bytes),
        Object.entries(row.oursToThis ?? {})
          .map(([name, ratio]) => `${name.split(', ')[1]} ${ratio.toFixed(2)}`)
          .join(', '),
      ]),
    ),
    ...clockLine(figures.clocks),
  ]);
}

function commandLines(commands) {
  return ['', '```', ...commands, '```'];
}

/** Writes results/summary.md and gives its path. */
export function writeSummary({ results, parts, bundle }) {
  const all = parts.map((part) => resultOf(results, part, bundle.id));
  const device = all[parts.findIndex(({ name }) => name === 'device')] ?? all[parts.findIndex(({ name }) => name === 'build')];
  const ended = all.filter((result) => result !== undefined);
  const failed = ended.filter(({ passed }) => !passed);
  const failures = failed.flatMap(({ part, problems }) => [
    '',
    `### ${part}`,
    '',
    ...problems.flatMap((problem) => ['```', problem, '```']),
  ]);
  const benchmarks = benchmarkLines(all);
  const peers = peerLines(all);
  const lines = [
    '# kernel-warehouse on a GPU',
    '',
    `${ended.length - failed.length} of ${parts.length} parts passed, ${failed.length} failed, ${parts.length - ended.length} not run.`,
    `Package ${bundle.version ?? ''} of commit ${bundle.commit ?? 'unknown'}, made ${bundle.date ?? 'here'}.`,
    '',
    ...(device ? machineLines(device.figures) : []),
    '',
    '## Parts',
    '',
    ...table(
      ['part', 'outcome', 'counts', 'time'],
      parts.map((part, index) => partRow(part, all[index])),
    ),
    ...(failures.length > 0 ? ['', '## Failures', ...failures] : []),
    ...(benchmarks.length > 0 ? ['', '## Speed', ...benchmarks] : []),
    ...(peers.length > 0 ? ['', '## Beside PyTorch', ...peers] : []),
  ];
  const path = join(results, 'summary.md');
  writeFileSync(path, `${lines.join('\n')}\n`);
  return path;
}
