/** Mean over all positions of each channel. */
import type { DataType } from '../../plan/plan.js';
import type { Value } from '../graph.js';
import { channels, defineOperation, elements, expectLike, expectShape, float32, required, shapeError, shapeOf } from '../operation.js';
import { fill } from './fill.js';
import { multiply } from './multiply.js';

const globalAvgPoolOperation = defineOperation<object>({
  name: 'global_avg_pool',
  infer(inputs) {
    const x = required('global_avg_pool', inputs, 0, 'x');
    if (x.shape.length < 3) throw shapeError('global_avg_pool', `expected x of shape [N, ..., C] but received [${x.shape.join(', ')}]`);
    return [float32([x.shape[0] as number, channels(x)])];
  },
  gradient: ({ inputs, outputGradients: [dy] }) => [
    dy && (dy.graph.append(globalAvgPoolBackwardOperation, [dy], gradientAttributes(inputs[0] as Value))[0] as Value),
  ],
  flops: ({ inputs }) => elements(shapeOf(inputs, 0)),
  activations: { inputs: [0], outputs: [] },
});

function gradientAttributes({ type, shape }: Value) {
  return { inputShape: shape, type };
}

export const globalAvgPoolBackwardOperation = defineOperation<{ readonly inputShape: readonly number[]; readonly type: DataType }>({
  name: 'global_avg_pool_backward',
  infer(inputs, { inputShape, type }) {
    const dx = { type, shape: inputShape };
    const dy = required('global_avg_pool_backward', inputs, 0, 'dy');
    expectShape('global_avg_pool_backward', 'dy', dy, [inputShape[0] as number, channels(dx)]);
    if (inputs[1]) expectLike('global_avg_pool_backward', 'accumulator', inputs[1], dx);
    return [dx];
  },
  gradient: ({ inputs, outputGradients: [dy], wanted }) => [dy && wanted[0] ? globalAvgPool(dy) : undefined, inputs[1] && dy],
  flops: ({ inputs, outputs }) => (inputs[1] ? 2 : 1) * elements(shapeOf(outputs, 0)),
  activations: { inputs: [1], outputs: [0], begins: true },
  sharing: [{ output: 0, input: 1, kind: 'may' }],
});

/** x [N, ..., C] averaged to [N, C]. */
export function globalAvgPool(x: Value): Value {
  return x.graph.append(globalAvgPoolOperation, [x], {})[0] as Value;
}

/** x [N, ..., C] plus added [N, C] at each position. This is the gradient of the mean, for an `added` scaled by the number of positions. */
export function addToPositions(x: Value, added: Value): Value {
  const positions = elements(x.shape.slice(1, -1));
  const whole = multiply(added, fill(x.graph, [1, 1], positions));
  return x.graph.append(globalAvgPoolBackwardOperation, [whole, x], gradientAttributes(x))[0] as Value;
}

export const globalAvgPoolOperations = [globalAvgPoolOperation, globalAvgPoolBackwardOperation];
