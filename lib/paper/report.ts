/** Every row of the paper's tables that has a parameter count, beside what is computed here. */
import { type ModelReport, modelReport, type ReportSettings } from '../models/model_report.js';
import { selectModel } from '../models/select.js';
import { type CountAgreement, countAgreement, table14Differences, table15Differences } from './agreement.js';
import { type PaperRow, paperRows } from './printed_counts.js';

/** What the paper says about a row; `null` if it says nothing. */
interface PaperReport extends Pick<PaperRow, 'row' | 'tables'> {
  /** Its name in test/golden/allocation.json. */
  readonly paperCountM: number;
  readonly agreement: CountAgreement;
  /** 'agrees', or the differences. */
  readonly table14: string | null;
  readonly table15: string | null;
  readonly note: string | null;
}

/** A row: a configuration with its allocation, and what the paper says about it. */
export type PaperLine = ModelReport & { readonly paper: PaperReport };

function agreementWith(differences: string | undefined): string | null {
  if (differences === undefined) return null;
  return differences === '' ? 'agrees' : `differs: ${differences}`;
}

function lineOf({ config, row, tables, millions, note }: PaperRow, settings: ReportSettings): PaperLine {
  const { report, model } = modelReport(config, selectModel(config).model, settings);
  const { allocation } = model;
  return {
    ...report,
    paper: {
      row,
      tables,
      paperCountM: millions,
      agreement: countAgreement(report.params, millions),
      table14: allocation ? agreementWith(table14Differences(config, allocation.warehouses)) : null,
      table15: allocation ? agreementWith(table15Differences(config, allocation)) : null,
      note: note ?? null,
    },
  };
}

export function paperReport(settings: ReportSettings): PaperLine[] {
  return paperRows.map((row) => lineOf(row, settings));
}
