/** The same numbers in another floating-point type; to bfloat16 they are rounded to nearest, ties to even. */
import type { Value } from '../graph.js';
import { defineOperation, elements, required, shapeError, shapeOf } from '../operation.js';

/** The types that activations have. */
export type ActivationType = 'float32' | 'bfloat16';

export const castOperation = defineOperation<{ readonly type: ActivationType }>({
  name: 'cast',
  infer(inputs, { type }) {
    const x = required('cast', inputs, 0, 'x');
    for (const each of [x.type, type]) {
      if (each !== 'float32' && each !== 'bfloat16') throw shapeError('cast', `expected float32 or bfloat16 but received ${each}`);
    }
    return [{ type, shape: x.shape }];
  },
  gradient: ({ inputs, outputGradients: [dy] }) => [dy && cast(dy, (inputs[0] as Value).type as ActivationType)],
  flops: ({ outputs }) => elements(shapeOf(outputs, 0)),
});

/** x in `type`; x itself where it has that type. */
export function cast(x: Value, type: ActivationType): Value {
  return x.type === type ? x : (x.graph.append(castOperation, [x], { type })[0] as Value);
}
