/** Batch normalisation over all axes but the last: with the batch's statistics (training) or given ones (inference). */
import type { Value } from '../graph.js';
import { channels, defineOperation, elements, expectShape, float32, required, shapeOf } from '../operation.js';

interface NormAttributes {
  readonly epsilon: number;
}

function checkVectors(op: string, inputs: readonly (Value | undefined)[], x: Value, names: readonly string[], first: number): void {
  names.forEach((name, index) => {
    expectShape(op, name, required(op, inputs, first + index, name), [channels(x)]);
  });
}

const batchNormOperation = defineOperation<NormAttributes>({
  name: 'batch_norm',
  infer(inputs) {
    const x = required('batch_norm', inputs, 0, 'x');
    checkVectors('batch_norm', inputs, x, ['scale', 'bias'], 1);
    return [float32(x.shape), float32([channels(x)]), float32([channels(x)])];
  },
  gradient({ inputs, outputs, attributes, outputGradients: [dy], wanted }) {
    if (!dy) return [];
    const [x, scale] = inputs;
    const gradients = dy.graph.append(batchNormBackwardOperation, [dy, x, scale, outputs[1], outputs[2]], { ...attributes });
    return gradients.map((value, index) => (wanted[index] ? value : undefined));
  },
  flops: ({ outputs }) => 6 * elements(shapeOf(outputs, 0)),
});

function inferBackward(op: string) {
  return (inputs: readonly (Value | undefined)[]) => {
    const dy = required(op, inputs, 0, 'dy');
    expectShape(op, 'x', required(op, inputs, 1, 'x'), dy.shape);
    checkVectors(op, inputs, dy, ['scale', 'mean', 'variance'], 2);
    return [float32(dy.shape), float32([channels(dy)]), float32([channels(dy)])];
  };
}

const batchNormBackwardOperation = defineOperation<NormAttributes>({
  name: 'batch_norm_backward',
  infer: inferBackward('batch_norm_backward'),
  flops: ({ outputs }) => 10 * elements(shapeOf(outputs, 0)),
});

const batchNormInferenceOperation = defineOperation<NormAttributes>({
  name: 'batch_norm_inference',
  infer(inputs) {
    const x = required('batch_norm_inference', inputs, 0, 'x');
    checkVectors('batch_norm_inference', inputs, x, ['scale', 'bias', 'mean', 'variance'], 1);
    return [float32(x.shape)];
  },
  gradient({ inputs, attributes, outputGradients: [dy], wanted }) {
    if (!dy) return [];
    const [x, scale, , mean, variance] = inputs;
    const gradients = dy.graph.append(batchNormInferenceBackwardOperation, [dy, x, scale, mean, variance], { ...attributes });
    return gradients.map((value, index) => (wanted[index] ? value : undefined));
  },
  flops: ({ outputs }) => 2 * elements(shapeOf(outputs, 0)),
});

const batchNormInferenceBackwardOperation = defineOperation<NormAttributes>({
  name: 'batch_norm_inference_backward',
  infer: inferBackward('batch_norm_inference_backward'),
  flops: ({ outputs }) => 6 * elements(shapeOf(outputs, 0)),
});

/** x [..., C] normalised by its own statistics, which are returned too: mean [C], biased variance [C]. */
export function batchNorm(x: Value, scale: Value, bias: Value, epsilon: number): { y: Value; mean: Value; variance: Value } {
  const [y, mean, variance] = x.graph.append(batchNormOperation, [x, scale, bias], { epsilon }) as [Value, Value, Value];
  return { y, mean, variance };
}

/** x [..., C] normalised by given statistics, which are constants to the gradient. */
export function batchNormInference(x: Value, scale: Value, bias: Value, mean: Value, variance: Value, epsilon: number): Value {
  return x.graph.append(batchNormInferenceOperation, [x, scale, bias, mean, variance], { epsilon })[0] as Value;
}

export const batchNormOperations = [
  batchNormOperation,
  batchNormBackwardOperation,
  batchNormInferenceOperation,
  batchNormInferenceBackwardOperation,
];
