/** A range of the last axis. */
import type { Value } from '../graph.js';
import { channels, defineOperation, elements, like, required, shapeError, shapeOf } from '../operation.js';

const sliceOperation = defineOperation<{ readonly start: number; readonly end: number }>({
  name: 'slice',
  infer(inputs, { start, end }) {
    const x = required('slice', inputs, 0, 'x');
    if (!(start >= 0 && start < end && end <= channels(x)))
      throw shapeError('slice', `${start}..${end} is not a range of ${channels(x)} columns`);
    return [like(x, [...x.shape.slice(0, -1), end - start])];
  },
  gradient: ({ inputs, attributes: { start }, outputGradients: [dy] }) => [
    dy && (dy.graph.append(sliceBackwardOperation, [dy], { start, size: channels(inputs[0] as Value) })[0] as Value),
  ],
  flops: () => 0,
  activations: { inputs: [0], outputs: [0] },
});

const sliceBackwardOperation = defineOperation<{ readonly start: number; readonly size: number }>({
  name: 'slice_backward',
  infer(inputs, { size }) {
    const dy = required('slice_backward', inputs, 0, 'dy');
    return [like(dy, [...dy.shape.slice(0, -1), size])];
  },
  flops: ({ outputs }) => elements(shapeOf(outputs, 0)),
  activations: { inputs: [0], outputs: [0] },
});

/** Columns start..end of x [..., C]. */
export function slice(x: Value, start: number, end: number): Value {
  return x.graph.append(sliceOperation, [x], { start, end })[0] as Value;
}

export const sliceOperations = [sliceOperation, sliceBackwardOperation];
