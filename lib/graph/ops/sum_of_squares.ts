/** Σ x²: of an arena of gradients, the square of their norm. */
import type { Value } from '../graph.js';
import { defineOperation, elements, float32, required, shapeOf } from '../operation.js';

const sumOfSquaresOperation = defineOperation<object>({
  name: 'sum_of_squares',
  infer: (inputs) => {
    required('sum_of_squares', inputs, 0, 'x');
    return [float32([])];
  },
  flops: ({ inputs }) => 2 * elements(shapeOf(inputs, 0)),
});

export function sumOfSquares(x: Value): Value {
  return x.graph.append(sumOfSquaresOperation, [x], {})[0] as Value;
}

export const sumOfSquaresOperations = [sumOfSquaresOperation];
