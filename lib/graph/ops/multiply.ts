/** Element-wise product with a factor that may be the same along some axes: gates and layer scale. */
import type { Value } from '../graph.js';
import { defineOperation, elements, expectLike, float32, like, required, shapeError, shapeOf } from '../operation.js';

function checkFactor(op: string, x: readonly number[], factor: readonly number[]): void {
  if (factor.length === x.length && factor.every((size, axis) => size === x[axis] || size === 1)) return;
  throw shapeError(
    op,
    `expected a factor with ${x.length} axes, each 1 or as in x [${x.join(', ')}], but received [${factor.join(', ')}]; reshape it first`,
  );
}

const multiplyOperation = defineOperation<object>({
  name: 'multiply',
  infer(inputs) {
    const x = required('multiply', inputs, 0, 'x');
    checkFactor('multiply', x.shape, required('multiply', inputs, 1, 'factor').shape);
    return [like(x)];
  },
  gradient({ inputs, outputGradients: [dy], wanted }) {
    if (!dy) return [];
    const [x, factor] = inputs as [Value, Value];
    return [
      wanted[0] ? multiply(dy, factor) : undefined,
      wanted[1] ? dy.graph.append(multiplyBackwardFactorOperation, [dy, x], { factorShape: factor.shape })[0] : undefined,
    ];
  },
  flops: ({ outputs }) => elements(shapeOf(outputs, 0)),
  activations: { inputs: [0], outputs: [0] },
  sharing: [{ output: 0, input: 0, kind: 'may' }],
});

const multiplyBackwardFactorOperation = defineOperation<{ readonly factorShape: readonly number[] }>({
  name: 'multiply_backward_factor',
  infer(inputs, { factorShape }) {
    const dy = required('multiply_backward_factor', inputs, 0, 'dy');
    expectLike('multiply_backward_factor', 'x', required('multiply_backward_factor', inputs, 1, 'x'), dy);
    checkFactor('multiply_backward_factor', dy.shape, factorShape);
    return [float32(factorShape)];
  },
  flops: ({ inputs }) => 2 * elements(shapeOf(inputs, 0)),
  activations: { inputs: [0, 1], outputs: [] },
});

/**
 * x times factor, which has as many axes. Where an axis of factor has size 1, its value serves that whole axis of x. The result has the
 * shape of x.
 */
export function multiply(x: Value, factor: Value): Value {
  return x.graph.append(multiplyOperation, [x, factor], {})[0] as Value;
}

export const multiplyOperations = [multiplyOperation, multiplyBackwardFactorOperation];
