/** The counts for the rows of a table of accuracies, and the paper's accuracies beside yours. */
import { KernelWarehouseError } from '../errors.js';
import { Model } from '../models/model.js';
import { selectModel } from '../models/select.js';
import { type CountAgreement, countAgreement } from './agreement.js';
import { paperRows } from './printed_counts.js';
import type { PaperFigure, PaperTable } from './printed_tables.js';
import { readTrainedResults, type TrainedResults } from './trained_results.js';

/** Pixels of an image; the paper's counts are for networks with 224. */
const imageSizePixels = 224;

export interface CountsLine {
  readonly config: string;
  /** The row's name in the paper. */
  readonly row: string;
  readonly paperCountM: number;
  readonly params: number;
  readonly agreement: CountAgreement;
  /** For the inference of one image; a multiply-add counts as two. */
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

/** Throws ERR_KW_DATA for a file of results that is malformed, or has no row of the table. */
export function resultsFor({ number, lines }: PaperTable, path: string): TrainedResults {
  const results = readTrainedResults(path);
  if (!lines.some(({ configs }) => configs.some((config) => results[config]))) {
    throw new KernelWarehouseError(
      'ERR_KW_DATA',
      `${path}: table ${number} has no row for ${Object.keys(results).join(', ') || 'nothing'}; leave out --results`,
    );
  }
  return results;
}
