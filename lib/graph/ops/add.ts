/** Element-wise sum of two tensors of one shape; the residual connection. */
import type { Value } from '../graph.js';
import { defineOperation, elements, expectLike, like, required, shapeOf } from '../operation.js';

export const addOperation = defineOperation<object>({
  name: 'add',
  infer(inputs) {
    const a = required('add', inputs, 0, 'a');
    expectLike('add', 'b', required('add', inputs, 1, 'b'), a);
    return [like(a)];
  },
  gradient: ({ outputGradients: [dc] }) => [dc, dc],
  flops: ({ outputs }) => elements(shapeOf(outputs, 0)),
  activations: { inputs: [0, 1], outputs: [0] },
  sharing: [
    { output: 0, input: 0, kind: 'may' },
    { output: 0, input: 1, kind: 'may' },
  ],
});

export function add(a: Value, b: Value): Value {
  return a.graph.append(addOperation, [a, b], {})[0] as Value;
}
