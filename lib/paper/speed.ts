/** The speeds that the paper prints beside ours (Table 12). */

import { networkOfImplementation } from '../bench/grouped_implementation.js';
import type { BenchReport, Result, Setting } from '../bench/report.js';
import { type PaperTable, paperValue } from './printed_tables.js';

export interface PaperSpeed {
  readonly imagesPerSecond: number;
  /** Divided by the images per second of its static network; 1 for that network itself. */
  readonly ratioToStatic: number;
}

/** A report with what a table of the paper prints about the same networks. */
export interface ComparedReport extends BenchReport {
  readonly table: Pick<PaperTable, 'number' | 'title' | 'note'>;
  readonly results: readonly ComparedResult[];
}

export interface ComparedResult extends Result {
  readonly paper?: PaperSpeed;
}

/** The printed speed of a configuration; undefined if the table has no such row. */
export function paperSpeed(table: PaperTable, config: string): PaperSpeed | undefined {
  const line = table.lines.find(({ configs }) => configs.includes(config));
  const speed = paperValue(table, 'framesPerSecond', config);
  const ofStatic = line && paperValue(table, 'framesPerSecond', line.baseline);
  return speed === undefined || ofStatic === undefined ? undefined : { imagesPerSecond: speed, ratioToStatic: speed / ofStatic };
}

/** The report with the rows of the table in its order, each result beside the printed figures. */
export function besidePaper(report: BenchReport, table: PaperTable): ComparedReport {
  const { number, title, note } = table;
  const order = table.lines.flatMap(({ configs }) => configs);
  const placeOf = ({ network }: Setting) => order.indexOf(networkOfImplementation(network));
  const results = report.results.map((result) => {
    const paper = paperSpeed(table, networkOfImplementation(result.network));
    return paper ? { ...result, paper } : result;
  });
  return {
    ...report,
    table: { number, title, ...(note === undefined ? {} : { note }) },
    results: results.sort((a, b) => placeOf(a) - placeOf(b)),
  };
}
