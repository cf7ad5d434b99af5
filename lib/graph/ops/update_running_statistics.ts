/** The exponential average of batch statistics that inference uses. */
import type { Value } from '../graph.js';
import { defineOperation, elements, expectShape, required, shapeOf } from '../operation.js';

const operation = defineOperation<{ readonly momentum: number; readonly count: number }>({
  name: 'update_running_statistics',
  infer(inputs) {
    const mean = required('update_running_statistics', inputs, 0, 'runningMean');
    ['runningVariance', 'mean', 'variance'].forEach((name, index) => {
      expectShape('update_running_statistics', name, required('update_running_statistics', inputs, index + 1, name), mean.shape);
    });
    return [];
  },
  flops: ({ inputs }) => 6 * elements(shapeOf(inputs, 0)),
  mutates: [0, 1],
});

/** r = (1 - momentum) r + momentum s; the variance becomes unbiased by count / (count - 1), `count` being the rows that it came from. */
export function updateRunningStatistics(
  running: { readonly mean: Value; readonly variance: Value },
  batch: { readonly mean: Value; readonly variance: Value },
  momentum: number,
  count: number,
): void {
  running.mean.graph.append(operation, [running.mean, running.variance, batch.mean, batch.variance], { momentum, count });
}

export const updateRunningStatisticsOperations = [operation];
