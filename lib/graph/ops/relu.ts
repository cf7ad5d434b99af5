/** max(x, 0). */
import type { Value } from '../graph.js';
import { defineOperation, elements, expectLike, like, required, shapeOf } from '../operation.js';

const reluOperation = defineOperation<object>({
  name: 'relu',
  infer: (inputs) => [like(required('relu', inputs, 0, 'x'))],
  gradient: ({ outputs, outputGradients: [dy] }) => [dy && (dy.graph.append(reluBackwardOperation, [dy, outputs[0]], {})[0] as Value)],
  flops: ({ outputs }) => elements(shapeOf(outputs, 0)),
  activations: { inputs: [0], outputs: [0] },
  sharing: [{ output: 0, input: 0, kind: 'may' }],
});

const reluBackwardOperation = defineOperation<object>({
  name: 'relu_backward',
  infer(inputs) {
    const dy = required('relu_backward', inputs, 0, 'dy');
    expectLike('relu_backward', 'y', required('relu_backward', inputs, 1, 'y'), dy);
    return [like(dy)];
  },
  flops: ({ outputs }) => elements(shapeOf(outputs, 0)),
  activations: { inputs: [0, 1], outputs: [0] },
  sharing: [{ output: 0, input: 0, kind: 'may' }],
});

export function relu(x: Value): Value {
  return x.graph.append(reluOperation, [x], {})[0] as Value;
}

export const reluOperations = [reluOperation, reluBackwardOperation];
