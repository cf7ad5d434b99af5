/**
 * Progress of long work: a bar on a terminal, elsewhere (files, CI) a plain line every few seconds. It uses no colours, so NO_COLOR holds.
 */
import { SingleBar } from 'cli-progress';

const RATE_WINDOW_MILLISECONDS = 20_000;
const RATE_STEP_MILLISECONDS = 100;
// Erases the line of the bar and saves the cursor's position, to which cli-progress returns when it stops.
const ERASE_LINE = '\r\u001b[K';
const SAVE_CURSOR = '\u001b7';
const WIDEST_BAR = 40;
const NARROWEST_BAR = 10;

export interface ProgressOptions {
  /** What is being done, such as `epoch 3/90`. */
  readonly label: string;
  /** Amount of work; with `done` it gives the part done. */
  readonly total: number;
  /** What is counted, for the rate; default `images`. */
  readonly unit?: string;
  /** Work that a resumed run did before, which does not count for the rate; default 0. */
  readonly done?: number;
  /** Default standard error, so that standard output stays free for results. */
  readonly stream?: NodeJS.WriteStream;
  /** Time between plain lines, in seconds; default 5. */
  readonly interval?: number;
  /** Leave nothing behind at the end, because the caller writes a line of its own; default false. */
  readonly transient?: boolean;
}

/** Short figures shown behind the bar, such as `{ loss: '0.123', top1: '97.2 %' }`. */
export type ProgressFigures = Readonly<Record<string, string>>;

/**
 * Shows how far the work is. Call `update` after each step and `stop` at the end, also after an error (`using` does that). The cursor is
 * never hidden and line wrapping never turned off, so a program that is killed leaves the terminal as it was.
 */
export class Progress implements Disposable {
  private readonly label: string;
  private readonly total: number;
  private readonly unit: string;
  private readonly stream: NodeJS.WriteStream;
  private readonly interval: number;
  private readonly transient: boolean;
  private readonly bar: SingleBar | undefined;
  private readonly history: { time: number; done: number }[];
  private done: number;
  private figures: ProgressFigures = {};
  private lastLine: number;
  private stopped = false;

  constructor(options: ProgressOptions) {
    this.label = options.label;
    this.total = options.total;
    this.unit = options.unit ?? 'images';
    this.done = options.done ?? 0;
    this.stream = options.stream ?? process.stderr;
    this.interval = (options.interval ?? 5) * 1000;
    this.transient = options.transient ?? false;
    this.lastLine = performance.now();
    this.history = [{ time: this.lastLine, done: this.done }];
    if (this.stream.isTTY && process.env.TERM !== 'dumb') {
      this.bar = new SingleBar({
        stream: this.stream,
        format: () => this.barLine(),
        fps: 8,
        hideCursor: false,
        linewrap: true,
        gracefulExit: false, // signals are the program's own business; nothing has to be undone
        forceRedraw: true,
        clearOnComplete: this.transient,
      });
      this.bar.start(this.total, this.done);
    }
  }

  /** Sets how much is done by now, and the figures to show. */
  update(done: number, figures: ProgressFigures = this.figures): void {
    if (this.stopped) return;
    const time = performance.now();
    this.done = done;
    this.figures = figures;
    const [secondLast] = this.history.slice(-2, -1);
    if (secondLast && time - secondLast.time < RATE_STEP_MILLISECONDS) this.history.pop();
    this.history.push({ time, done });
    while (this.history.length > 2 && time - (this.history[1] as { time: number }).time > RATE_WINDOW_MILLISECONDS) this.history.shift();
    if (this.bar) this.bar.update(done);
    else if (time - this.lastLine >= this.interval && done < this.total) this.writeLine(time);
  }

  /** Writes a line of its own, above the bar. */
  log(line: string): void {
    this.stream.write(this.bar && !this.stopped ? `${ERASE_LINE}${line}\n${SAVE_CURSOR}` : `${line}\n`);
  }

  /** Shows the last state (or, if transient, nothing) and ends; later calls do nothing. */
  stop(): void {
    if (this.stopped) return;
    this.stopped = true;
    if (this.bar) this.bar.stop();
    else if (!this.transient) this.writeLine(performance.now());
  }

  [Symbol.dispose](): void {
    this.stop();
  }

  private writeLine(time: number): void {
    this.lastLine = time;
    this.stream.write(`${[this.label, ...this.parts()].join('  ')}\n`);
  }

  /** One line that fits the terminal: the bar takes the room that is left, and if there is none, the last figures are cut. */
  private barLine(): string {
    const room = Math.max(1, (this.stream.columns || 80) - 1);
    const before = `${this.label}  [`;
    const after = `]  ${this.parts().join('  ')}`;
    const width = Math.min(WIDEST_BAR, Math.max(NARROWEST_BAR, room - before.length - after.length));
    const filled = Math.round(width * (this.total > 0 ? Math.min(1, Math.max(0, this.done / this.total)) : 1));
    return `${before}${'='.repeat(filled)}${' '.repeat(width - filled)}${after}`.slice(0, room);
  }

  private parts(): string[] {
    const parts = [`${this.done}/${this.total}`];
    const rate = this.rate();
    if (rate > 0) {
      parts.push(`${formatRate(rate)} ${this.unit}/s`);
      if (this.done < this.total && !this.stopped) parts.push(`${formatDuration((this.total - this.done) / rate)} left`);
    }
    for (const [name, value] of Object.entries(this.figures)) parts.push(`${name} ${value}`);
    return parts;
  }

  /** Units per second over the last seconds; 0 if unknown. */
  private rate(): number {
    const first = this.history[0] as { time: number; done: number };
    const last = this.history.at(-1) as { time: number; done: number };
    return last.time > first.time ? (1000 * (last.done - first.done)) / (last.time - first.time) : 0;
  }
}

/** Three digits, such as `0.52`, `38.1`, `1240`. */
export function formatRate(rate: number): string {
  return rate < 10 ? rate.toFixed(2) : rate < 100 ? rate.toFixed(1) : rate.toFixed(0);
}

/** Such as `8s`, `3m05s`, `2h07m`, `4d03h`. */
export function formatDuration(seconds: number): string {
  const whole = Math.round(seconds);
  const two = (value: number): string => String(Math.floor(value)).padStart(2, '0');
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m${two(whole % 60)}s`;
  if (whole < 86_400) return `${Math.floor(whole / 3600)}h${two((whole % 3600) / 60)}m`;
  return `${Math.floor(whole / 86_400)}d${two((whole % 86_400) / 3600)}h`;
}
