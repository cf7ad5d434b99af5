/** Tensors side by side along the last axis. */
import { KernelWarehouseError } from '../../errors.js';
import type { Value } from '../graph.js';
import { channels, defineOperation, expectLike, like, required } from '../operation.js';
import { slice } from './slice.js';

const concatOperation = defineOperation<object>({
  name: 'concat',
  infer(inputs) {
    const first = required('concat', inputs, 0, 'x0');
    let columns = 0;
    inputs.forEach((_, index) => {
      const value = required('concat', inputs, index, `x${index}`);
      expectLike('concat', `x${index}`, value, first, [...first.shape.slice(0, -1), channels(value)]);
      columns += channels(value);
    });
    return [like(first, [...first.shape.slice(0, -1), columns])];
  },
  gradient({ inputs, outputGradients: [dy], wanted }) {
    if (!dy) return [];
    let start = 0;
    return inputs.map((value, index) => {
      const from = start;
      start += channels(value as Value);
      return wanted[index] ? slice(dy, from, start) : undefined;
    });
  },
  flops: () => 0,
  activations: { inputs: 'all', outputs: [0] },
});

/** Tensors [..., Ci] joined to [..., sum of Ci]. */
export function concat(values: readonly Value[]): Value {
  const [first] = values;
  if (!first) throw new KernelWarehouseError('ERR_KW_SHAPE', '[concat] expected at least one input');
  return values.length === 1 ? first : (first.graph.append(concatOperation, values, {})[0] as Value);
}

export const concatOperations = [concatOperation];
