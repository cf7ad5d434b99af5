/** Another shape for the same memory; costs nothing. */
import type { Value } from '../graph.js';
import { defineOperation, elements, like, required, shapeError } from '../operation.js';

export const reshapeOperation = defineOperation<{ readonly shape: readonly number[] }>({
  name: 'reshape',
  infer(inputs, { shape }) {
    const x = required('reshape', inputs, 0, 'x');
    if (elements(shape) !== elements(x.shape)) throw shapeError('reshape', `cannot view [${x.shape.join(', ')}] as [${shape.join(', ')}]`);
    return [like(x, shape)];
  },
  gradient: ({ inputs, outputGradients }) => [outputGradients[0] && reshape(outputGradients[0], (inputs[0] as Value).shape)],
  flops: () => 0,
  activations: { inputs: [0], outputs: [0] },
  sharing: [{ output: 0, input: 0, kind: 'alias' }],
});

/** x seen as another physical shape with as many elements. */
export function reshape(x: Value, shape: readonly number[]): Value {
  if (shape.length === x.shape.length && shape.every((size, axis) => size === x.shape[axis])) return x;
  return x.graph.append(reshapeOperation, [x], { shape })[0] as Value;
}
