/** A vector added to every row, and its gradient, the sum of the rows; each is the gradient of the other. */
import type { Value } from '../graph.js';
import { channels, defineOperation, elements, expectShape, float32, like, required, shapeOf } from '../operation.js';
import { fill } from './fill.js';

const addBiasOperation = defineOperation<object>({
  name: 'add_bias',
  infer(inputs) {
    const x = required('add_bias', inputs, 0, 'x');
    expectShape('add_bias', 'bias', required('add_bias', inputs, 1, 'bias'), [channels(x)]);
    return [like(x)];
  },
  gradient: ({ outputGradients: [dy], wanted }) => [dy, dy && wanted[1] ? sumRows(dy) : undefined],
  flops: ({ outputs }) => elements(shapeOf(outputs, 0)),
  activations: { inputs: [0], outputs: [0] },
  sharing: [{ output: 0, input: 0, kind: 'may' }],
});

/** x [..., C] + bias [C]. */
export function addBias(x: Value, bias: Value): Value {
  return x.graph.append(addBiasOperation, [x, bias], {})[0] as Value;
}

const sumRowsOperation = defineOperation<object>({
  name: 'sum_rows',
  infer: (inputs) => [float32([channels(required('sum_rows', inputs, 0, 'x'))])],
  gradient: ({ inputs, outputGradients }) => {
    const [x] = inputs as [Value];
    return [outputGradients[0] && addBias(fill(x.graph, x.shape, 0), outputGradients[0])];
  },
  flops: ({ inputs }) => elements(shapeOf(inputs, 0)),
  activations: { inputs: [0], outputs: [] },
});

/** x [..., C] summed to [C]. */
export function sumRows(x: Value): Value {
  return x.graph.append(sumRowsOperation, [x], {})[0] as Value;
}

export const addBiasOperations = [addBiasOperation, sumRowsOperation];
