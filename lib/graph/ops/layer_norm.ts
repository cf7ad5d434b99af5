/** Normalisation of each row over its channels. */
import type { Value } from '../graph.js';
import { channels, defineOperation, elements, expectLike, expectShape, float32, like, required, shapeOf } from '../operation.js';

interface NormAttributes {
  readonly epsilon: number;
}

const layerNormOperation = defineOperation<NormAttributes>({
  name: 'layer_norm',
  infer(inputs) {
    const x = required('layer_norm', inputs, 0, 'x');
    expectShape('layer_norm', 'scale', required('layer_norm', inputs, 1, 'scale'), [channels(x)]);
    expectShape('layer_norm', 'bias', required('layer_norm', inputs, 2, 'bias'), [channels(x)]);
    const rows = elements(x.shape) / channels(x);
    return [like(x), float32([rows]), float32([rows])];
  },
  gradient({ inputs, outputs, attributes, outputGradients: [dy], wanted }) {
    if (!dy) return [];
    const gradients = dy.graph.append(layerNormBackwardOperation, [dy, inputs[0], inputs[1], outputs[1], outputs[2]], { ...attributes });
    return gradients.map((value, index) => (wanted[index] ? value : undefined));
  },
  flops: ({ outputs }) => 6 * elements(shapeOf(outputs, 0)),
  activations: { inputs: [0], outputs: [0] },
});

const layerNormBackwardOperation = defineOperation<NormAttributes>({
  name: 'layer_norm_backward',
  infer(inputs) {
    const dy = required('layer_norm_backward', inputs, 0, 'dy');
    expectLike('layer_norm_backward', 'x', required('layer_norm_backward', inputs, 1, 'x'), dy);
    return [like(dy), float32([channels(dy)]), float32([channels(dy)])];
  },
  flops: ({ outputs }) => 10 * elements(shapeOf(outputs, 0)),
  activations: { inputs: [0, 1], outputs: [0] },
});

/** x [..., C] with every row normalised, times scale [C], plus bias [C]. */
export function layerNorm(x: Value, scale: Value, bias: Value, epsilon: number): Value {
  return x.graph.append(layerNormOperation, [x, scale, bias], { epsilon })[0] as Value;
}

export const layerNormOperations = [layerNormOperation, layerNormBackwardOperation];
