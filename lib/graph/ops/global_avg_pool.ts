/** Mean over all positions of each channel. */
import type { Value } from '../graph.js';
import { channels, defineOperation, elements, expectShape, float32, required, shapeError, shapeOf } from '../operation.js';

const globalAvgPoolOperation = defineOperation<object>({
  name: 'global_avg_pool',
  infer(inputs) {
    const x = required('global_avg_pool', inputs, 0, 'x');
    if (x.shape.length < 3) throw shapeError('global_avg_pool', `expected x of shape [N, ..., C] but received [${x.shape.join(', ')}]`);
    return [float32([x.shape[0] as number, channels(x)])];
  },
  gradient: ({ inputs, outputGradients: [dy] }) => [
    dy && (dy.graph.append(globalAvgPoolBackwardOperation, [dy], { inputShape: (inputs[0] as Value).shape })[0] as Value),
  ],
  flops: ({ inputs }) => elements(shapeOf(inputs, 0)),
});

export const globalAvgPoolBackwardOperation = defineOperation<{ readonly inputShape: readonly number[] }>({
  name: 'global_avg_pool_backward',
  infer(inputs, { inputShape }) {
    if (inputs[1]) expectShape('global_avg_pool_backward', 'accumulator', inputs[1], inputShape);
    return [float32(inputShape)];
  },
  flops: ({ inputs, outputs }) => (inputs[1] ? 2 : 1) * elements(shapeOf(outputs, 0)),
  sharing: [{ output: 0, input: 1, kind: 'may' }],
});

/** x [N, ..., C] averaged to [N, C]. */
export function globalAvgPool(x: Value): Value {
  return x.graph.append(globalAvgPoolOperation, [x], {})[0] as Value;
}

export const globalAvgPoolOperations = [globalAvgPoolOperation, globalAvgPoolBackwardOperation];
