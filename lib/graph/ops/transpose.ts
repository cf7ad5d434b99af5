/** The axes of a tensor in another order. */
import type { Value } from '../graph.js';
import { defineOperation, like, required, shapeError } from '../operation.js';

const transposeOperation = defineOperation<{ readonly axes: readonly number[] }>({
  name: 'transpose',
  infer(inputs, { axes }) {
    const x = required('transpose', inputs, 0, 'x');
    if (axes.length !== x.shape.length || x.shape.some((_, axis) => !axes.includes(axis))) {
      throw shapeError('transpose', `expected axes to be an order of the ${x.shape.length} axes of x but received [${axes.join(', ')}]`);
    }
    return [
      like(
        x,
        axes.map((axis) => x.shape[axis] as number),
      ),
    ];
  },
  gradient: ({ attributes: { axes }, outputGradients: [dy] }) => [
    dy &&
      transpose(
        dy,
        axes.map((_, axis) => axes.indexOf(axis)),
      ),
  ],
  flops: () => 0,
  activations: { inputs: [0], outputs: [0] },
});

/** x with its axes in the given order: axis i of the result is axis `axes[i]` of x. */
export function transpose(x: Value, axes: readonly number[]): Value {
  return x.graph.append(transposeOperation, [x], { axes })[0] as Value;
}

export const transposeOperations = [transposeOperation];
