/** The counts of the lines of a table of accuracies, and what the table prints beside what was trained here. */
import { KernelWarehouseError } from '../errors.js';
import { Model } from '../models/model.js';
import { selectModel } from '../models/select.js';
import { type CountAgreement, countAgreement } from './agreement.js';
import { paperRows } from './printed_counts.js';
import type { PaperFigure, PaperTable } from './printed_tables.js';
import { readTrainedResults, type TrainedResults } from './trained_results.js';

/** Of an image; the counts of the paper are of networks for 224 pixels. */
const imageSizePixels = 224;

export interface CountsLine {
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

export interface CountsReport {
  readonly table: Pick<PaperTable, 'number' | 'title' | 'note'>;
  readonly imageSizePixels: number;
  readonly lines: readonly CountsLine[];
}

function lineOf(config: string, paper: CountsLine['paper'], trained: CountsLine['trained']): CountsLine {
  const printed = paperRows.find((row) => row.config === config);
  if (!printed) throw new Error(`no count is known to be printed of ${config}`);
  const model = new Model(selectModel(config).model);
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

export function countsReport({ number, title, note, figures, lines }: PaperTable, results: TrainedResults): CountsReport {
  return {
    table: { number, title, ...(note === undefined ? {} : { note }) },
    imageSizePixels,
    lines: lines.flatMap(({ configs, values }) => {
      const paper = Object.fromEntries(figures.map((figure, index) => [figure, values[index]]));
      return configs.map((config) => lineOf(config, paper, results[config] ?? {}));
    }),
  };
}

/** Throws ERR_KW_DATA for a file of results that has another form, or no line of the table. */
export function resultsFor({ number, lines }: PaperTable, path: string): TrainedResults {
  const results = readTrainedResults(path);
  if (!lines.some(({ configs }) => configs.some((config) => results[config]))) {
    throw new KernelWarehouseError(
      'ERR_KW_DATA',
      `${path}: table ${number} has no line of ${Object.keys(results).join(', ') || 'nothing'}; leave out --results`,
    );
  }
  return results;
}
