/** Writes a value to its place: a gradient in its arena, or an output buffer. */
import type { Value } from '../graph.js';
import { defineOperation, expectShape, required, shapeError } from '../operation.js';

export const copyOperation = defineOperation<object>({
  name: 'copy',
  infer(inputs) {
    const destination = required('copy', inputs, 0, 'destination');
    const source = required('copy', inputs, 1, 'source');
    expectShape('copy', 'source', source, destination.shape);
    if (destination.type !== source.type) throw shapeError('copy', `cannot copy ${source.type} to ${destination.type}`);
    return [];
  },
  flops: () => 0,
  mutates: [0],
});

/** Makes `source` end up in `destination`; where possible the planner computes it there. */
export function assign(destination: Value, source: Value): void {
  source.graph.append(copyOperation, [destination, source], {}, source.node.label);
}

/** Outputs `value` in a buffer called `name`. */
export function output(name: string, value: Value): void {
  assign(value.graph.outputPlace(name, value.type, value.shape), value);
}
