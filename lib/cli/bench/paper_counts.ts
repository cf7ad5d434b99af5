/** `kernel-warehouse bench --table` of the paper's accuracies: the counts of its lines, and what is printed beside what was trained here. */

import { KernelWarehouseError } from '../../errors.js';
import { Model } from '../../models/model.js';
import { type CountAgreement, countAgreement } from '../../paper/agreement.js';
import { paperRows } from '../../paper/printed_counts.js';
import { figureHeads, type PaperFigure, type PaperTable } from '../../paper/printed_tables.js';
import { readTrainedResults, type TrainedResults } from '../../paper/trained_results.js';
import { formatCount, formatGigaflops } from '../figures.js';
import { selectNoting } from '../network_choice.js';
import { table as drawn, wrapped } from '../table.js';
import type { TableFlags } from './flags.js';
import { checkedOutputs, publish } from './run.js';
import { tableWords } from './speed_text.js';

/** Of an image; the counts of the paper are of networks for 224 pixels. */
const imageSizePixels = 224;

interface Line {
  readonly config: string;
  /** The line as the paper names it. */
  readonly row: string;
  readonly paperCountM: number;
  readonly params: number;
  readonly agreement: CountAgreement;
  /** Of one image's inference; a multiply-add counts as two. */
  readonly flops: number;
  readonly paper: Partial<Record<PaperFigure, number>>;
  readonly trained: Partial<Record<PaperFigure, number>>;
}

interface CountsReport {
  readonly table: Pick<PaperTable, 'number' | 'title' | 'note'>;
  readonly imageSizePixels: number;
  readonly lines: readonly Line[];
}

function lineOf(config: string, paper: Line['paper'], trained: Line['trained']): Line {
  const printed = paperRows.find((row) => row.config === config);
  if (!printed) throw new Error(`no count is known to be printed of ${config}`);
  const model = new Model(selectNoting(config).model);
  const params = model.parameters.count;
  return {
    config,
    row: printed.row,
    paperCountM: printed.millions,
    params,
    agreement: countAgreement(params, printed.millions),
    flops: model.flops(imageSizePixels),
    paper,
    trained,
  };
}

function countsReport({ number, title, note, figures, lines }: PaperTable, results: TrainedResults): CountsReport {
  return {
    table: { number, title, ...(note === undefined ? {} : { note }) },
    imageSizePixels,
    lines: lines.flatMap(({ configs, values }) => {
      const paper = Object.fromEntries(figures.map((figure, index) => [figure, values[index]]));
      return configs.map((config) => lineOf(config, paper, results[config] ?? {}));
    }),
  };
}

function figureColumns(figure: PaperFigure, lines: readonly Line[]): { head: string; cell: (line: Line) => string }[] {
  const cell = (value: number | undefined) => (value === undefined ? '-' : value.toFixed(figure.startsWith('top') ? 2 : 1));
  const printed = { head: `${figureHeads[figure]}\npaper`, cell: ({ paper }: Line) => cell(paper[figure]) };
  const isTrained = lines.some(({ trained }) => trained[figure] !== undefined);
  return isTrained ? [printed, { head: `${figureHeads[figure]}\nhere`, cell: ({ trained }: Line) => cell(trained[figure]) }] : [printed];
}

function countsTable({ table, lines }: CountsReport, figures: readonly PaperFigure[], columns = Number.POSITIVE_INFINITY): string {
  const all = [
    { head: 'configuration', cell: ({ config }: Line) => config },
    { head: 'paper\nparams', cell: ({ paperCountM }: Line) => `${paperCountM.toFixed(2)}M` },
    { head: 'exact', cell: ({ params }: Line) => formatCount(params) },
    { head: 'as\nprinted', cell: ({ agreement }: Line) => (agreement === 'rounded' ? 'yes' : agreement) },
    { head: 'GFLOPs', cell: ({ flops }: Line) => formatGigaflops(flops) },
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

function resultsFor({ number, lines }: PaperTable, path: string): TrainedResults {
  const results = readTrainedResults(path);
  if (!lines.some(({ configs }) => configs.some((config) => results[config]))) {
    throw new KernelWarehouseError(
      'ERR_KW_DATA',
      `${path}: table ${number} has no line of ${Object.keys(results).join(', ') || 'nothing'}; leave out --results`,
    );
  }
  return results;
}

/** Throws ERR_KW_DATA for a file of results that has another form, or no line of the table. */
export async function runCountsTable(table: PaperTable, { results, json }: TableFlags): Promise<void> {
  const outputs = checkedOutputs({ ...(json === undefined ? {} : { json }) }, results === undefined ? [] : [results]);
  const report = countsReport(table, results === undefined ? {} : resultsFor(table, results));
  await publish({ report, tables: (columns) => countsTable(report, table.figures, columns) }, json, outputs);
}
