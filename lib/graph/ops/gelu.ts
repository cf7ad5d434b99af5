/** The Gaussian error linear unit (Hendrycks & Gimpel 2016) in its exact form, with erf; not the approximation by tanh. */
import type { Value } from '../graph.js';
import { defineOperation, elements, expectLike, like, required, shapeOf } from '../operation.js';

const geluOperation = defineOperation<object>({
  name: 'gelu',
  infer: (inputs) => [like(required('gelu', inputs, 0, 'x'))],
  gradient: ({ inputs, outputGradients: [dy] }) => [dy && (dy.graph.append(geluBackwardOperation, [dy, inputs[0]], {})[0] as Value)],
  flops: ({ outputs }) => 4 * elements(shapeOf(outputs, 0)),
  activations: { inputs: [0], outputs: [0] },
  sharing: [{ output: 0, input: 0, kind: 'may' }],
});

const geluBackwardOperation = defineOperation<object>({
  name: 'gelu_backward',
  infer(inputs) {
    const dy = required('gelu_backward', inputs, 0, 'dy');
    expectLike('gelu_backward', 'x', required('gelu_backward', inputs, 1, 'x'), dy);
    return [like(dy)];
  },
  flops: ({ outputs }) => 8 * elements(shapeOf(outputs, 0)),
  activations: { inputs: [0, 1], outputs: [0] },
  sharing: [{ output: 0, input: 0, kind: 'may' }],
});

/** x Φ(x) = 0.5 x (1 + erf(x / √2)) for each element of x, of any shape. */
export function gelu(x: Value): Value {
  return x.graph.append(geluOperation, [x], {})[0] as Value;
}

export const geluOperations = [geluOperation, geluBackwardOperation];
