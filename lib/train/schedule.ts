/** How the learning rate falls during training. */

export interface LearningRateSchedule {
  readonly peak: number;
  /** Where the cosine ends. */
  readonly minimum: number;
  /** Epochs of linear growth from 0 to the peak. */
  readonly warmupEpochs: number;
  readonly epochs: number;
  readonly iterationsPerEpoch: number;
}

/**
 * The learning rate of an iteration, counted from 1: linear warm-up, then half a
 * cosine down to the minimum (Loshchilov and Hutter, 2017).
 */
export function learningRateAt(
  iteration: number,
  { peak, minimum, warmupEpochs, epochs, iterationsPerEpoch }: LearningRateSchedule,
): number {
  const warmup = warmupEpochs * iterationsPerEpoch;
  if (iteration <= warmup) return (peak * iteration) / warmup;
  const progress = (iteration - 1 - warmup) / Math.max(1, epochs * iterationsPerEpoch - warmup);
  return minimum + (peak - minimum) * 0.5 * (1 + Math.cos(Math.PI * Math.min(1, progress)));
}
