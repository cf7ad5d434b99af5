/** Random zeroing, of elements (dropout) or of whole samples (stochastic depth). */
import type { Value } from '../graph.js';
import { defineOperation, elements, like, type Operation, required, shapeError, shapeOf } from '../operation.js';

interface DropoutAttributes {
  readonly probability: number;
  readonly perSample: boolean;
  /** Distinguishes the nodes that draw in one step. */
  readonly stream: number;
}

const dropoutOperation: Operation = defineOperation<DropoutAttributes>({
  name: 'dropout',
  infer(inputs, { probability }) {
    if (!(probability >= 0 && probability < 1)) throw shapeError('dropout', `expected a probability in [0, 1) but received ${probability}`);
    return [like(required('dropout', inputs, 0, 'x'))];
  },
  // The same draw again, because the mask depends only on seed, step and stream.
  gradient: ({ inputs, attributes, outputGradients: [dy] }) => [
    dy && (dy.graph.append(dropoutOperation, [dy, inputs[1], inputs[2]], { ...attributes })[0] as Value),
  ],
  flops: ({ outputs }) => elements(shapeOf(outputs, 0)),
  activations: { inputs: [0], outputs: [0] },
  sharing: [{ output: 0, input: 0, kind: 'may' }],
});

/** x with each element (or each sample) zeroed with `probability` and the rest scaled by 1 / (1 - probability). */
export function dropout(x: Value, probability: number, options: { readonly perSample?: boolean; readonly stream: number }): Value {
  if (probability === 0) return x;
  const inputs = [x, x.graph.control('seed'), x.graph.control('step')];
  return x.graph.append(dropoutOperation, inputs, {
    probability,
    perSample: options.perSample ?? false,
    stream: options.stream,
  })[0] as Value;
}

export const dropoutOperations = [dropoutOperation];
