/** A tensor of one value. */
import type { Graph, Value } from '../graph.js';
import { defineOperation, float32 } from '../operation.js';

const fillOperation = defineOperation<{ readonly shape: readonly number[]; readonly value: number }>({
  name: 'fill',
  infer: (_inputs, { shape }) => [float32(shape)],
  gradient: () => [],
  flops: () => 0,
});

export function fill(graph: Graph, shape: readonly number[], value: number): Value {
  return graph.append(fillOperation, [], { shape, value })[0] as Value;
}

export const fillOperations = [fillOperation];
