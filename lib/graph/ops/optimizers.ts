/** SGD, AdamW and the moving average of weights, each one pass over the flat arenas. */
import type { Value } from '../graph.js';
import { defineOperation, elements, expectShape, required, shapeOf } from '../operation.js';

export interface SgdAttributes {
  readonly momentum: number;
  readonly nesterov: boolean;
  /** Weight decay applies to the first `decayed` elements of the arena. */
  readonly decayed: number;
}

export interface AdamwAttributes {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly decayed: number;
}

function checkArenas(op: string, inputs: readonly (Value | undefined)[], arenas: readonly string[], scalars: readonly string[]): void {
  const size = required(op, inputs, 0, arenas[0] as string).shape;
  arenas.forEach((name, index) => {
    expectShape(op, name, required(op, inputs, index, name), size);
  });
  scalars.forEach((name, index) => {
    expectShape(op, name, required(op, inputs, arenas.length + index, name), []);
  });
}

const sgdOperation = defineOperation<SgdAttributes>({
  name: 'sgd',
  infer(inputs) {
    checkArenas('sgd', inputs, ['parameters', 'gradients', 'momentumBuffer'], ['learningRate', 'weightDecay']);
    return [];
  },
  flops: ({ inputs }) => 6 * elements(shapeOf(inputs, 0)),
  mutates: [0, 2],
});

const adamwOperation = defineOperation<AdamwAttributes>({
  name: 'adamw',
  infer(inputs) {
    checkArenas('adamw', inputs, ['parameters', 'gradients', 'firstMoment', 'secondMoment'], ['learningRate', 'weightDecay', 'step']);
    return [];
  },
  flops: ({ inputs }) => 14 * elements(shapeOf(inputs, 0)),
  mutates: [0, 2, 3],
});

const movingAverageOperation = defineOperation<object>({
  name: 'moving_average',
  infer(inputs) {
    checkArenas('moving_average', inputs, ['average', 'values'], ['decay']);
    return [];
  },
  flops: ({ inputs }) => 3 * elements(shapeOf(inputs, 0)),
  mutates: [0],
});

/** One step of SGD with momentum, as in PyTorch: weight decay is added to the gradient. */
export function sgd(parameters: Value, gradients: Value, momentumBuffer: Value, attributes: SgdAttributes): void {
  const { graph } = parameters;
  graph.append(
    sgdOperation,
    [parameters, gradients, momentumBuffer, graph.control('learningRate'), graph.control('weightDecay')],
    { ...attributes },
    'sgd',
  );
}

/** One step of AdamW, as in PyTorch: weight decay is decoupled from the gradient. */
export function adamw(parameters: Value, gradients: Value, firstMoment: Value, secondMoment: Value, attributes: AdamwAttributes): void {
  const { graph } = parameters;
  const controls = [graph.control('learningRate'), graph.control('weightDecay'), graph.control('step')];
  graph.append(adamwOperation, [parameters, gradients, firstMoment, secondMoment, ...controls], { ...attributes }, 'adamw');
}

/** Moves an arena towards another: average = decay * average + (1 - decay) * values; `decay` is a scalar. */
export function movingAverage(average: Value, values: Value, decay: Value): void {
  average.graph.append(movingAverageOperation, [average, values, decay], {}, 'moving_average');
}

export const optimizerOperations = [sgdOperation, adamwOperation, movingAverageOperation];
