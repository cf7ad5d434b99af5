/** What `kernel-warehouse plan --all` prints: the paper's rows beside the counts computed here. */
import type { CountAgreement } from '../../paper/agreement.js';
import { type PaperLine, paperReport } from '../../paper/report.js';
import { formatCount, formatGigaflops } from '../figures.js';
import { ruledTable } from '../table.js';
import type { PlanFlags } from './flags.js';

/** Prints a line for each row of the paper, or all of them as one JSON array. */
export function printPaperReport(flags: PlanFlags): void {
  const lines = paperReport(flags);
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

/** The difference of a count from the printed one, such as `-0.05M`. */
function gapOf(count: number, millions: number): string {
  const gap = (Math.round(count / 10_000) - Math.round(100 * millions)) / 100;
  return `${gap > 0 ? '+' : ''}${gap.toFixed(2)}M`;
}

function paperTable(lines: readonly PaperLine[], imageSize: number): string {
  const footnotes: string[] = [];
  const footnote = (text: string | null): string => {
    if (text === null) return '';
    if (!footnotes.includes(text)) footnotes.push(text);
    return `[${footnotes.indexOf(text) + 1}]`;
  };
  const agreementCell = (text: string | null) => (text === null || text === 'agrees' ? (text ?? '') : `differs ${footnote(text)}`);
  const head = ['configuration', 'tables', 'paper', 'exact', 'as printed', 'm', 'n', 'Table 14', 'Table 15', 'GFLOPs', 'notes'];
  const rows = lines.map((line) => {
    const { tables, paperCountM, agreement, table14, table15, note } = line.paper;
    const [m, n] = (['m', 'n'] as const).map((name) => shortForm(line.warehouses.map((warehouse) => warehouse[name]))) as [string, string];
    return [
      line.config,
      tables.join(', '),
      `${paperCountM.toFixed(2)}M`,
      formatCount(line.params),
      agreement === 'no' ? `no, ${gapOf(line.params, paperCountM)}` : agreement,
      m,
      n === m && n !== '' ? '= m' : n,
      agreementCell(table14),
      agreementCell(table15),
      formatGigaflops(line.flops),
      footnote(note),
    ];
  });
  const table = ruledTable(head, rows, [2, 3, 9], { 1: 16, 5: 28, 6: 28 });
  const how = (agreement: CountAgreement) => lines.filter((line) => line.paper.agreement === agreement).length;
  return [
    table,
    ...footnotes.map((text, index) => `[${index + 1}] ${text}`),
    `GFLOPs of an image of ${imageSize} pixels; a multiply-add counts as two.`,
    `${lines.length} configurations: ${how('rounded')} counts round to the printed one, ` +
      `${how('rounded up')} only rounded up, ${how('no')} not at all.`,
    ...lines.filter(({ paper }) => paper.agreement === 'no').map(notReproduced),
  ].join('\n');
}

/** A sentence about a count that the configuration does not reproduce. */
function notReproduced({ config, params, paper }: PaperLine): string {
  return (
    `Not reproduced: ${paper.row}, printed ${paper.paperCountM.toFixed(2)}M, ${formatCount(params)} by ${config} ` +
    `(${gapOf(params, paper.paperCountM)}).`
  );
}
