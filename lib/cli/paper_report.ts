/** What `kernel-warehouse plan --all` prints: every row of the paper's tables that has a parameter count, beside what is computed here. */
import { type PaperRow, paperRows } from '../models/paper.js';
import { type CountAgreement, countAgreement, table14Differences, table15Differences } from '../models/paper_agreement.js';
import { formatCount } from './figures.js';
import { gigaflops, newTable, type PlanFlags, type Report, reportOf } from './plan_report.js';

/** What the paper says of a line; `null` where it says nothing. */
interface PaperReport extends Pick<PaperRow, 'row' | 'tables'> {
  /** As test/golden/allocation.json calls it. */
  readonly paperCountM: number;
  readonly agreement: CountAgreement;
  /** Of a method that is not built here: what its public code counts. */
  readonly publicCode: number | null;
  /** 'agrees', or what differs. */
  readonly table14: string | null;
  readonly table15: string | null;
  readonly note: string | null;
}

/** A line: a configuration with its allocation, or a row of the paper that has none and goes by the paper's name. */
type Line = (Report | { readonly config: string; readonly params: null; readonly warehouses: readonly [] }) & {
  readonly paper: PaperReport;
};

function agreementWith(differences: string | undefined): string | null {
  if (differences === undefined) return null;
  return differences === '' ? 'agrees' : `differs: ${differences}`;
}

function lineOf(row: PaperRow, flags: PlanFlags): Line {
  const { config, row: name, tables, millions, publicCode, note } = row;
  const built = config === undefined ? undefined : reportOf(config, flags);
  const allocation = built?.model.allocation;
  return {
    ...(built?.report ?? { config: name, params: null, warehouses: [] }),
    paper: {
      row: name,
      tables,
      paperCountM: millions,
      agreement: countAgreement(built?.report.params ?? publicCode ?? 0, millions),
      publicCode: publicCode ?? null,
      table14: config !== undefined && allocation ? agreementWith(table14Differences(config, allocation.warehouses)) : null,
      table15: config !== undefined && allocation ? agreementWith(table15Differences(config, allocation)) : null,
      note: note ?? null,
    },
  };
}

/** Prints a line for each configuration and row of the paper, or all of them as one JSON array. */
export function printPaperReport(flags: PlanFlags): void {
  const lines = paperRows.map((row) => lineOf(row, flags));
  console.log(flags.json ? JSON.stringify(lines, null, 2) : paperTable(lines, flags.imageSize));
}

/** Numbers in a row, each repeated one once: `9x4, 18, 2`. */
function shortForm(values: readonly number[]): string {
  const runs: { value: number; count: number }[] = [];
  for (const value of values) {
    const last = runs.at(-1);
    if (last?.value === value) last.count++;
    else runs.push({ value, count: 1 });
  }
  return runs.map(({ value, count }) => (count > 1 ? `${value}x${count}` : value)).join(', ');
}

/** How far a count is from the printed one, such as `-0.05M`. */
function gapOf(count: number, millions: number): string {
  const gap = (Math.round(count / 10_000) - Math.round(100 * millions)) / 100;
  return `${gap > 0 ? '+' : ''}${gap.toFixed(2)}M`;
}

function paperTable(lines: readonly Line[], imageSize: number): string {
  const footnotes: string[] = [];
  const footnote = (text: string | null): string => {
    if (text === null) return '';
    if (!footnotes.includes(text)) footnotes.push(text);
    return `[${footnotes.indexOf(text) + 1}]`;
  };
  const agreementCell = (text: string | null) => (text === null || text === 'agrees' ? (text ?? '') : `differs ${footnote(text)}`);
  const head = ['configuration', 'tables', 'paper', 'exact', 'as printed', 'm', 'n', 'Table 14', 'Table 15', 'GFLOPs', 'notes'];
  const table = newTable(head, [2, 3, 9], { 1: 16, 5: 28, 6: 28 });
  for (const line of lines) {
    const { tables, paperCountM, publicCode, agreement, table14, table15, note } = line.paper;
    const [m, n] = (['m', 'n'] as const).map((name) => shortForm(line.warehouses.map((warehouse) => warehouse[name]))) as [string, string];
    const count = line.params ?? publicCode ?? 0;
    table.push([
      line.config,
      tables.join(', '),
      `${paperCountM.toFixed(2)}M`,
      line.params === null ? `(${formatCount(count)})` : formatCount(count),
      agreement === 'no' ? `no, ${gapOf(count, paperCountM)}` : agreement,
      m,
      n === m && n !== '' ? '= m' : n,
      agreementCell(table14),
      agreementCell(table15),
      line.params === null ? '' : gigaflops(line.flops),
      footnote(note),
    ]);
  }
  const built = lines.filter(({ params }) => params !== null);
  const how = (agreement: CountAgreement) => built.filter((line) => line.paper.agreement === agreement).length;
  return [
    table.toString(),
    ...footnotes.map((text, index) => `[${index + 1}] ${text}`),
    `(Counts in parentheses) are those of the public code of methods that this version does not have.`,
    `GFLOPs of an image of ${imageSize} pixels; a multiply-add counts as two.`,
    `${built.length} configurations: ${how('rounded')} counts round to the printed one, ` +
      `${how('rounded up')} only rounded up, ${how('no')} not at all.`,
    ...lines.filter(({ paper }) => paper.agreement === 'no').map(notReproduced),
  ].join('\n');
}

/** A sentence on a count that the configuration, or the method's public code, does not give. */
function notReproduced({ config, params, paper }: Line): string {
  const count = params ?? paper.publicCode ?? 0;
  const from = params === null ? 'its public code' : config;
  return (
    `Not reproduced: ${paper.row}, printed ${paper.paperCountM.toFixed(2)}M, ${formatCount(count)} by ${from} ` +
    `(${gapOf(count, paper.paperCountM)}).`
  );
}
