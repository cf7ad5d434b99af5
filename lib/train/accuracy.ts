/** Counting right answers. */

export interface Accuracy {
  /** Images whose class has the highest logit. */
  top1: number;
  /** Images whose class is among the five highest. */
  top5: number;
  count: number;
}

export function noAccuracy(): Accuracy {
  return { top1: 0, top5: 0, count: 0 };
}

/** Adds a batch of logits [targets.length, classes]. Equal logits count as wrong, and so does a NaN. */
export function countCorrect(accuracy: Accuracy, logits: Float32Array, targets: Int32Array): void {
  const classes = logits.length / targets.length;
  targets.forEach((target, sample) => {
    const row = logits.subarray(sample * classes, (sample + 1) * classes);
    const own = row[target] as number;
    let above = 0;
    for (let index = 0; index < classes; index++) if (index !== target && !((row[index] as number) < own)) above++;
    accuracy.count++;
    if (above < 1) accuracy.top1++;
    if (above < 5) accuracy.top5++;
  });
}
