import type { Arguments } from './operation.js';
import { scalar, size, type Tensor, zeros } from './tensor.js';

/** Target distribution `[N, K]` of class indices `[N]` or of soft targets, after label smoothing. */
function smoothed(targets: Tensor, shape: readonly number[], smoothing: number): Tensor {
  const distribution = zeros(shape);
  const classes = size(distribution, 1);
  for (let i = 0; i < distribution.data.length; i++) {
    const target = targets.shape.length === 1 ? Number(targets.data[Math.floor(i / classes)] === i % classes) : targets.data[i]!;
    distribution.data[i] = target * (1 - smoothing) + smoothing / classes;
  }
  return distribution;
}

export function crossEntropy(args: Arguments): Tensor[] {
  const logits = args.input(0);
  const [batch, classes] = [size(logits, 0), size(logits, 1)];
  const targets = smoothed(args.input(1), logits.shape, args.number('labelSmoothing'));
  const probabilities = zeros(logits.shape);
  let loss = 0;
  for (let start = 0; start < logits.data.length; start += classes) {
    const row = logits.data.subarray(start, start + classes);
    const maximum = row.reduce((a, b) => Math.max(a, b), -Infinity);
    const logSum = maximum + Math.log(row.reduce((total, value) => total + Math.exp(value - maximum), 0));
    for (let k = 0; k < classes; k++) {
      probabilities.data[start + k] = Math.exp(row[k]! - logSum);
      loss -= (targets.data[start + k]! * (row[k]! - logSum)) / batch;
    }
  }
  return [scalar(loss), probabilities];
}

/** The targets of a row sum to `mass` (1 but for unusual soft targets), so d/dlogit = mass * probability - target. */
export function crossEntropyBackward(args: Arguments): Tensor[] {
  const probabilities = args.input(1);
  const [batch, classes] = [size(probabilities, 0), size(probabilities, 1)];
  const targets = smoothed(args.input(2), probabilities.shape, args.number('labelSmoothing'));
  const dlogits = zeros(probabilities.shape);
  for (let start = 0; start < dlogits.data.length; start += classes) {
    const mass = targets.data.subarray(start, start + classes).reduce((total, value) => total + value, 0);
    for (let i = start; i < start + classes; i++) {
      dlogits.data[i] = (args.scalar(0) * (mass * probabilities.data[i]! - targets.data[i]!)) / batch;
    }
  }
  return [dlogits];
}
