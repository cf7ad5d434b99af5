/** A vector added to every row. */
import type { Value } from '../graph.js';
import { channels, defineOperation, elements, expectShape, like, required, shapeOf } from '../operation.js';
import { sumRows } from './sum_rows.js';

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

export const addBiasOperations = [addBiasOperation];
