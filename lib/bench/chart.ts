/**
 * A report as a chart: a bar of images per second for each network, grouped by the settings that they share. SVG without scripts or fonts.
 */
import type { BoundsReport } from './bounds/bounds_report.js';
import type { BenchReport, Setting } from './report.js';
import type { Spread } from './spread.js';

const WIDTH = 760;
const MARGIN = 16;
const BAR = 18;
const ROW = 28;
const HEADING = 30;
/** About the width of a letter of 13 pixels, from which widths of names are estimated, as no font is at hand. */
const LETTER = 7.5;
/** Between the end of a bar, with its spread, and its figure. */
const GAP = 8;

// The colours of the page are unknown, so the chart has a background of its own and follows the reader's choice of light or dark.
const STYLE = `
  .page { fill: #ffffff } text { fill: #1f2328; font: 13px system-ui, sans-serif } .heading { font-weight: 600 } .quiet { fill: #59636e; font-size: 12px }
  .compared { fill: #0969da } .base { fill: #818b98 } .spread { stroke: #1f2328; stroke-width: 1.5; fill: none }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117 } text { fill: #f0f6fc } .quiet { fill: #9198a1 }
    .compared { fill: #4493f8 } .base { fill: #656c76 } .spread { stroke: #f0f6fc }
  }`;

/** A network's bar. */
interface Bar extends Setting {
  readonly imagesPerSecond: Pick<Spread, 'median' | 'lowerQuartile' | 'upperQuartile'>;
  readonly ratioToOther?: { readonly network: string; readonly median: number };
}

/** An SVG document. Bars are medians on one scale; the line on each spans the quartiles of its rounds. */
export function chart(report: BenchReport): string {
  return drawing(report.results, [
    ...report.unmeasured.map(
      ({ network, mode, precision, batchSize, problem }) => `${network}, ${mode}, ${precision}, batch ${batchSize}: ${problem}`,
    ),
    `${report.machine.processor}, ${report.machine.threads} threads; ${report.imageSizePixels} pixels; medians and quartiles of ${report.rounds} rounds${report.partial ? ', stopped early' : ''}`,
  ]);
}

/** The same for bounds on paper, without launches. */
export function boundsChart({ results, hardware, imageSizePixels }: BoundsReport): string {
  const bars = results.map(({ imagesPerSecond, ratioToOther, ...setting }): Bar => {
    const figures = { median: imagesPerSecond, lowerQuartile: imagesPerSecond, upperQuartile: imagesPerSecond };
    const other = ratioToOther ? { ratioToOther: { network: ratioToOther.network, median: ratioToOther.ratio } } : {};
    return { ...setting, imagesPerSecond: figures, ...other };
  });
  return drawing(bars, [`bounds on paper for ${hardware.name}; ${imageSizePixels} pixels; nothing was measured`]);
}

function drawing(bars: readonly Bar[], notes: readonly string[]): string {
  const groups = groupsOf(bars);
  const nameWidth = Math.max(0, ...bars.map(({ network }) => network.length)) * LETTER + MARGIN;
  const left = MARGIN + nameWidth;
  const figureWidth = Math.max(0, ...bars.map((one) => figure(one).length)) * LETTER + GAP + MARGIN;
  const most = Math.max(...bars.map(({ imagesPerSecond }) => imagesPerSecond.upperQuartile), Number.MIN_VALUE);
  const scale = (WIDTH - left - figureWidth) / most;
  const parts: string[] = [];
  let y = MARGIN;
  for (const [heading, results] of groups) {
    parts.push(text(MARGIN, y + 16, heading, 'heading'));
    y += HEADING;
    for (const result of results) {
      parts.push(bar(result, left, y, scale));
      y += ROW;
    }
    y += 6;
  }
  for (const note of notes) {
    for (const line of wrapped(note, Math.floor((WIDTH - 2 * MARGIN) / (LETTER - 0.5)))) {
      parts.push(text(MARGIN, y + 14, line, 'quiet'));
      y += 18;
    }
  }
  const height = y + MARGIN;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" role="img">`,
    `<title>Images per second</title><style>${STYLE}</style>`,
    `<rect class="page" width="${WIDTH}" height="${height}"/>`,
    ...parts,
    '</svg>\n',
  ].join('\n');
}

/** What the bars of a group have in common, and the bars. */
function groupsOf(results: readonly Bar[]): Map<string, Bar[]> {
  const groups = new Map<string, Bar[]>();
  for (const result of results) {
    const heading = `${result.mode}, ${result.precision}, batch ${result.batchSize}: images/s`;
    groups.set(heading, [...(groups.get(heading) ?? []), result]);
  }
  return groups;
}

function figure({ imagesPerSecond, ratioToOther }: Bar): string {
  return `${readable(imagesPerSecond.median)}${ratioToOther ? ` (${ratioToOther.median.toFixed(2)} of ${ratioToOther.network})` : ''}`;
}

function bar(result: Bar, left: number, top: number, scale: number): string {
  const { network, imagesPerSecond, ratioToOther } = result;
  const { median, lowerQuartile, upperQuartile } = imagesPerSecond;
  const [end, from, to] = [median, lowerQuartile, upperQuartile].map((value) => round(left + scale * value));
  const middle = top + BAR / 2;
  return [
    text(left - GAP, middle + 4.5, network, 'name', 'end'),
    `<rect class="${ratioToOther ? 'compared' : 'base'}" x="${left}" y="${top}" width="${round(scale * median)}" height="${BAR}" rx="2"/>`,
    ...(from === to ? [] : [`<path class="spread" d="M${from} ${middle - 4}v8m0-4H${to}m0-4v8"/>`]),
    text(Math.max(end as number, to as number) + GAP, middle + 4.5, figure(result), 'figure'),
  ].join('\n');
}

function text(x: number, y: number, words: string, kind: string, anchor = 'start'): string {
  const escaped = words.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
  return `<text class="${kind}" x="${x}" y="${y}" text-anchor="${anchor}">${escaped}</text>`;
}

function wrapped(words: string, width: number): string[] {
  const lines: string[] = [''];
  for (const word of words.split(' ')) {
    const line = lines.at(-1) ?? '';
    if (line !== '' && line.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = line === '' ? word : `${line} ${word}`;
  }
  return lines;
}

function round(value: number): number {
  return Math.round(10 * value) / 10;
}

/** Three digits at least. */
function readable(value: number): string {
  return value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : value.toFixed(0);
}
