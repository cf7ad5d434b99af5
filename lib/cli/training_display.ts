/** What a training run shows: a bar during an epoch, and one line after it. */
import type { Accuracy } from '../train/accuracy.js';
import type { EpochSummary, TrainingProgress } from '../train/checkpoint.js';
import type { TrainingOptions } from '../train/options.js';
import type { StepReport } from '../train/training.js';
import { formatShare } from './figures.js';
import { formatDuration, formatRate, Progress } from './progress.js';

export class TrainingDisplay implements Disposable {
  readonly #options: TrainingOptions;
  readonly #samples: number;
  #bar: Progress | undefined;
  #isValidating = false;

  /** Starts at the first epoch to come; for a resumed run, the one in which it stopped. */
  constructor(options: TrainingOptions, samples: number, resumed: TrainingProgress | undefined) {
    this.#options = options;
    this.#samples = samples;
    this.#begin(resumed?.epoch ?? 0, resumed ? Math.min(samples, resumed.batch * options.batchSize) : 0);
  }

  step({ batch, images, loss, top1 }: StepReport): void {
    this.#bar?.update(batch * this.#options.batchSize + images, { loss: loss.toFixed(4), 'top-1': formatShare(top1, 1) });
  }

  validation({ count, top1 }: Readonly<Accuracy>, total: number): void {
    if (!this.#isValidating) this.clear();
    this.#isValidating = true;
    this.#bar ??= new Progress({ label: 'validation', total, done: count, transient: true });
    this.#bar.update(count, { 'top-1': formatShare(top1, count) });
  }

  epoch({ epoch, loss, train, validation, seconds }: EpochSummary): void {
    this.clear();
    const parts = [this.#label(epoch), `loss ${loss.toFixed(4)}`, `train top-1 ${formatShare(train.top1, train.count)}`];
    if (validation) parts.push(formatValidation(validation));
    parts.push(formatDuration(seconds), `${formatRate(train.count / seconds)} images/s`);
    console.log(parts.join('  '));
    this.#begin(epoch + 1, 0);
  }

  /** Removes the bar. */
  clear(): void {
    this.#bar?.stop();
    this.#bar = undefined;
    this.#isValidating = false;
  }

  [Symbol.dispose](): void {
    this.clear();
  }

  #begin(epoch: number, done: number): void {
    if (epoch < this.#options.epochs) this.#bar = new Progress({ label: this.#label(epoch), total: this.#samples, done, transient: true });
  }

  #label(epoch: number): string {
    return `epoch ${epoch + 1}/${this.#options.epochs}`;
  }
}

function formatValidation({ top1, top5, count }: Accuracy): string {
  return `validation top-1 ${formatShare(top1, count)}  top-5 ${formatShare(top5, count)}`;
}

/** The last line of a run, about its best epoch. `isBest`: validation chose that epoch, so there is a checkpoint of it. */
export function formatOutcome(history: readonly EpochSummary[]): { line: string; isBest: boolean } {
  let best: EpochSummary | undefined;
  for (const summary of history) {
    const share = ({ validation }: EpochSummary) => (validation ? validation.top1 / validation.count : -1);
    if (summary.validation && (!best || share(summary) > share(best))) best = summary;
  }
  const count = `${history.length} ${history.length === 1 ? 'epoch' : 'epochs'} done`;
  if (!best?.validation) return { line: `${count}; there is no validation part, so no epoch is the best one`, isBest: false };
  return { line: `${count}; best is epoch ${best.epoch + 1}: ${formatValidation(best.validation)}`, isBest: true };
}
