/** min(max(x, 0), 6): the activation of MobileNets (Sandler et al. 2018). */
import type { Value } from '../graph.js';
import { defineOperation, elements, expectLike, like, required, shapeOf } from '../operation.js';

const relu6Operation = defineOperation<object>({
  name: 'relu6',
  infer: (inputs) => [like(required('relu6', inputs, 0, 'x'))],
  gradient: ({ outputs, outputGradients: [dy] }) => [dy && (dy.graph.append(relu6BackwardOperation, [dy, outputs[0]], {})[0] as Value)],
  flops: ({ outputs }) => 2 * elements(shapeOf(outputs, 0)),
  activations: { inputs: [0], outputs: [0] },
  sharing: [{ output: 0, input: 0, kind: 'may' }],
});

const relu6BackwardOperation = defineOperation<object>({
  name: 'relu6_backward',
  infer(inputs) {
    const dy = required('relu6_backward', inputs, 0, 'dy');
    expectLike('relu6_backward', 'y', required('relu6_backward', inputs, 1, 'y'), dy);
    return [like(dy)];
  },
  flops: ({ outputs }) => 2 * elements(shapeOf(outputs, 0)),
  activations: { inputs: [0, 1], outputs: [0] },
  sharing: [{ output: 0, input: 0, kind: 'may' }],
});

/** x of any shape limited to 0..6; the gradient is zero at both limits. */
export function relu6(x: Value): Value {
  return x.graph.append(relu6Operation, [x], {})[0] as Value;
}

export const relu6Operations = [relu6Operation, relu6BackwardOperation];
