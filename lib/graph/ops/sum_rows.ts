/** Sum over all axes but the last; the gradient of a bias. */
import type { Value } from '../graph.js';
import { channels, defineOperation, elements, float32, required, shapeOf } from '../operation.js';
import { addBias } from './add_bias.js';
import { fill } from './fill.js';

const sumRowsOperation = defineOperation<object>({
  name: 'sum_rows',
  infer: (inputs) => [float32([channels(required('sum_rows', inputs, 0, 'x'))])],
  gradient: ({ inputs, outputGradients }) => {
    const [x] = inputs as [Value];
    return [outputGradients[0] && addBias(fill(x.graph, x.shape, 0), outputGradients[0])];
  },
  flops: ({ inputs }) => elements(shapeOf(inputs, 0)),
  activations: { inputs: [0], outputs: [] },
});

/** x [..., C] summed to [C]. */
export function sumRows(x: Value): Value {
  return x.graph.append(sumRowsOperation, [x], {})[0] as Value;
}

export const sumRowsOperations = [sumRowsOperation];
