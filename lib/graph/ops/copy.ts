/** Writes a value to the place of a result: a gradient's place in its arena, an output buffer. */
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

/** Makes `source` end up in `destination`; the planner computes it there where it can. */
export function assign(destination: Value, source: Value): void {
  source.graph.append(copyOperation, [destination, source], {}, source.node.label);
}

/** Gives `value` out in a buffer called `name`. */
export function output(name: string, value: Value): void {
  assign(value.graph.outputPlace(name, value.type, value.shape), value);
}
