/**
 * Batch normalization over all axes but the last, with the statistics of the batch (training) or given ones (inference). In training it may
 * include the residual and the activation that follow it; the pass `fuse_normalization` does that.
 */
import type { Value } from '../graph.js';
import {
  channels,
  defineOperation,
  elements,
  expectLike,
  expectShape,
  float32,
  type Inputs,
  like,
  required,
  shapeError,
  shapeOf,
} from '../operation.js';

interface NormAttributes {
  readonly epsilon: number;
}

/** The activation at the end of a batch_norm. */
export const batchNormActivations = ['none', 'relu', 'relu6'] as const;
export type BatchNormActivation = (typeof batchNormActivations)[number];

export interface BatchNormAttributes extends NormAttributes {
  readonly activation: BatchNormActivation;
}

/** Throws unless it is one of them. */
export function checkActivation(op: string, activation: BatchNormActivation): void {
  if (batchNormActivations.includes(activation)) return;
  throw shapeError(op, `expected activation ${batchNormActivations.join(', ')} but received ${activation}`);
}

function checkVectors(op: string, inputs: Inputs, x: Value, names: readonly string[], first: number): void {
  names.forEach((name, index) => {
    expectShape(op, name, required(op, inputs, first + index, name), [channels(x)]);
  });
}

export const batchNormOperation = defineOperation<BatchNormAttributes>({
  name: 'batch_norm',
  infer(inputs, { activation }) {
    const x = required('batch_norm', inputs, 0, 'x');
    checkVectors('batch_norm', inputs, x, ['scale', 'bias'], 1);
    if (inputs[3]) expectLike('batch_norm', 'residual', inputs[3], x);
    checkActivation('batch_norm', activation);
    return [like(x), float32([channels(x)]), float32([channels(x)])];
  },
  gradient({ inputs, outputs, attributes, outputGradients: [dy], wanted }) {
    if (!dy) return [];
    const [x, scale, bias, residual] = inputs;
    const [y, mean, variance] = outputs;
    const limited = attributes.activation !== 'none';
    const shown = limited ? [bias, ...(residual ? [y] : [])] : [];
    const gradients = dy.graph.append(batchNormBackwardOperation, [dy, x, scale, mean, variance, ...shown], { ...attributes });
    return [...gradients.slice(0, 3), gradients[3] ?? dy].map((value, index) => (wanted[index] ? value : undefined));
  },
  flops: ({ inputs, outputs, attributes: { activation } }) =>
    (6 + (inputs[3] ? 1 : 0) + (activation === 'none' ? 0 : 1)) * elements(shapeOf(outputs, 0)),
  activations: { inputs: [0, 3], outputs: [0] },
  sharing: [
    { output: 0, input: 3, kind: 'may' },
    { output: 0, input: 0, kind: 'may' },
  ],
});

function checkBackward(op: string, inputs: Inputs): Value {
  const dy = required(op, inputs, 0, 'dy');
  expectLike(op, 'x', required(op, inputs, 1, 'x'), dy);
  checkVectors(op, inputs, dy, ['scale', 'mean', 'variance'], 2);
  return dy;
}

export const batchNormBackwardOperation = defineOperation<BatchNormAttributes>({
  name: 'batch_norm_backward',
  infer(inputs, { activation }) {
    const op = 'batch_norm_backward';
    const dy = checkBackward(op, inputs);
    checkActivation(op, activation);
    if (activation !== 'none') checkVectors(op, inputs, dy, ['bias'], 5);
    if (inputs[6]) expectLike(op, 'y', inputs[6], dy);
    if (inputs[6] && activation === 'none') throw shapeError(op, 'expected no y without an activation');
    const vector = float32([channels(dy)]);
    return [like(dy), vector, vector, ...(inputs[6] ? [like(dy)] : [])];
  },
  flops: ({ outputs, attributes: { activation } }) => (activation === 'none' ? 10 : 12) * elements(shapeOf(outputs, 0)),
  activations: { inputs: [0, 1, 6], outputs: [0, 3] },
  // The masked gradient goes where dy was, and dx where x was: neither is read again once it is overwritten.
  sharing: [
    { output: 0, input: 1, kind: 'may' },
    { output: 0, input: 0, kind: 'may' },
    { output: 3, input: 0, kind: 'may' },
  ],
});

const batchNormInferenceOperation = defineOperation<NormAttributes>({
  name: 'batch_norm_inference',
  infer(inputs) {
    const x = required('batch_norm_inference', inputs, 0, 'x');
    checkVectors('batch_norm_inference', inputs, x, ['scale', 'bias', 'mean', 'variance'], 1);
    return [like(x)];
  },
  gradient({ inputs, attributes, outputGradients: [dy], wanted }) {
    if (!dy) return [];
    const [x, scale, , mean, variance] = inputs;
    const gradients = dy.graph.append(batchNormInferenceBackwardOperation, [dy, x, scale, mean, variance], { ...attributes });
    return gradients.map((value, index) => (wanted[index] ? value : undefined));
  },
  flops: ({ outputs }) => 2 * elements(shapeOf(outputs, 0)),
  activations: { inputs: [0], outputs: [0] },
});

const batchNormInferenceBackwardOperation = defineOperation<NormAttributes>({
  name: 'batch_norm_inference_backward',
  infer(inputs) {
    const dy = checkBackward('batch_norm_inference_backward', inputs);
    return [like(dy), float32([channels(dy)]), float32([channels(dy)])];
  },
  flops: ({ outputs }) => 6 * elements(shapeOf(outputs, 0)),
  activations: { inputs: [0, 1], outputs: [0] },
});

/** x [..., C] normalised by its own statistics, which are returned too: mean [C], biased variance [C]. */
export function batchNorm(x: Value, scale: Value, bias: Value, epsilon: number): { y: Value; mean: Value; variance: Value } {
  const [y, mean, variance] = x.graph.append(batchNormOperation, [x, scale, bias], {
    epsilon,
    activation: 'none',
  }) as [Value, Value, Value];
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
