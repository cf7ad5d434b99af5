/** The logistic function, 1 / (1 + exp(-x)): gates between 0 and 1. */
import type { Value } from '../graph.js';
import { defineOperation, elements, expectLike, like, required, shapeOf } from '../operation.js';

const sigmoidOperation = defineOperation<object>({
  name: 'sigmoid',
  infer: (inputs) => [like(required('sigmoid', inputs, 0, 'x'))],
  gradient: ({ outputs, outputGradients: [dy] }) => [dy && (dy.graph.append(sigmoidBackwardOperation, [dy, outputs[0]], {})[0] as Value)],
  flops: ({ outputs }) => 3 * elements(shapeOf(outputs, 0)),
  activations: { inputs: [0], outputs: [0] },
  sharing: [{ output: 0, input: 0, kind: 'may' }],
});

const sigmoidBackwardOperation = defineOperation<object>({
  name: 'sigmoid_backward',
  infer(inputs) {
    const dy = required('sigmoid_backward', inputs, 0, 'dy');
    expectLike('sigmoid_backward', 'y', required('sigmoid_backward', inputs, 1, 'y'), dy);
    return [like(dy)];
  },
  flops: ({ outputs }) => 3 * elements(shapeOf(outputs, 0)),
  activations: { inputs: [0, 1], outputs: [0] },
  sharing: [{ output: 0, input: 0, kind: 'may' }],
});

/** 1 / (1 + exp(-x)) for each element of x, of any shape. */
export function sigmoid(x: Value): Value {
  return x.graph.append(sigmoidOperation, [x], {})[0] as Value;
}

export const sigmoidOperations = [sigmoidOperation, sigmoidBackwardOperation];
