/** `kernel-warehouse bench --table` for tables of accuracies: the counts of their rows, and the paper's accuracies beside your own. */
import { type CountsLine, type CountsReport, countsReport, resultsFor } from '../../paper/counts_report.js';
import { figureHeads, type PaperFigure, type PaperTable } from '../../paper/printed_tables.js';
import { formatCount, formatGigaflops } from '../figures.js';
import { table as drawn, wrapped } from '../table.js';
import type { TableFlags } from './flags.js';
import { checkedOutputs, publish } from './run.js';
import { tableWords } from './speed_text.js';

function figureColumns(figure: PaperFigure, lines: readonly CountsLine[]): { head: string; cell: (line: CountsLine) => string }[] {
  const cell = (value: number | undefined) => (value === undefined ? '-' : value.toFixed(figure.startsWith('top') ? 2 : 1));
  const printed = { head: `${figureHeads[figure]}\npaper`, cell: ({ paper }: CountsLine) => cell(paper[figure]) };
  const isTrained = lines.some(({ trained }) => trained[figure] !== undefined);
  return isTrained
    ? [printed, { head: `${figureHeads[figure]}\nhere`, cell: ({ trained }: CountsLine) => cell(trained[figure]) }]
    : [printed];
}

function countsTable(
  { table, imageSizePixels, lines }: CountsReport,
  figures: readonly PaperFigure[],
  columns = Number.POSITIVE_INFINITY,
): string {
  const all = [
    { head: 'configuration', cell: ({ config }: CountsLine) => config },
    { head: 'paper\nparams', cell: ({ paperCountM }: CountsLine) => `${paperCountM.toFixed(2)}M` },
    { head: 'exact', cell: ({ params }: CountsLine) => formatCount(params) },
    { head: 'as\nprinted', cell: ({ agreement }: CountsLine) => (agreement === 'rounded' ? 'yes' : agreement) },
    { head: 'GFLOPs', cell: ({ flops }: CountsLine) => formatGigaflops(flops) },
    ...figures.flatMap((figure) => figureColumns(figure, lines)),
  ];
  const notes = [
    `GFLOPs of an image of ${imageSizePixels} pixels; a multiply-add counts as two.`,
    ...(lines.some(({ agreement }) => agreement !== 'rounded')
      ? ['`kernel-warehouse plan --all` says why a count is not the printed one.']
      : []),
  ];
  return [
    ...tableWords(table).flatMap((text) => wrapped(text, columns)),
    drawn(
      all.map(({ head }) => head),
      lines.map((line) => all.map(({ cell }) => cell(line))),
      columns,
    ),
    ...notes.flatMap((text) => wrapped(text, columns)),
  ].join('\n');
}

/** Throws ERR_KW_DATA for a file of results that is malformed, or has no row of the table. */
export async function runCountsTable(table: PaperTable, { results, json }: TableFlags): Promise<void> {
  const outputs = checkedOutputs({ ...(json === undefined ? {} : { json }) }, results === undefined ? [] : [results]);
  const report = countsReport(table, results === undefined ? {} : resultsFor(table, results));
  await publish({ report, tables: (columns) => countsTable(report, table.figures, columns) }, json, outputs);
}
