/** Mixes the weight of each sample: linear mixtures of a warehouse's cells (paper, section 3.2, equation 3). */
import type { Value } from '../graph.js';
import { defineOperation, elements, expectRank, float32, required, shapeError, shapeOf } from '../operation.js';
import type { Pair } from './convolution.js';

export interface MixAttributes {
  /** O of the mixed weight. */
  readonly outChannels: number;
  /** Input channels per group of the mixed weight. */
  readonly inChannels: number;
  readonly kernel: Pair;
}

/** [n, fe, keh, kew, ce] */
export type CellsShape = readonly [number, number, number, number, number];

/** The number of mixtures m that tile a weight; throws if the cells do not divide it. */
export function mixturesOf(op: string, { outChannels, inChannels, kernel }: MixAttributes, cells: CellsShape): number {
  const [, fe, keh, kew, ce] = cells;
  if (outChannels % fe || inChannels % ce || kernel[0] % keh || kernel[1] % kew) {
    throw shapeError(
      op,
      `cells of ${fe}x${ce} channels and ${keh}x${kew} positions do not tile a weight of ${outChannels}x${inChannels} and ` +
        `${kernel.join('x')}`,
    );
  }
  return (outChannels / fe) * (inChannels / ce) * (kernel[0] / keh) * (kernel[1] / kew);
}

/** Checks attention [N, m, n] against cells; returns N. */
export function checkMixing(op: string, attention: Value, cells: CellsShape, attributes: MixAttributes): number {
  const [samples, m, n] = expectRank(op, 'attention', attention, 3, '[N, m, n]') as [number, number, number];
  const mixtures = mixturesOf(op, attributes, cells);
  if (m !== mixtures || n !== cells[0]) {
    throw shapeError(op, `expected attention of shape [N, ${mixtures}, ${cells[0]}] but received [${attention.shape.join(', ')}]`);
  }
  return samples;
}

function mixingFlops(weight: Value, n: number): number {
  return 2 * n * elements(weight.shape);
}

export const mixCellsOperation = defineOperation<MixAttributes>({
  name: 'mix_cells',
  infer(inputs, attributes) {
    const attention = required('mix_cells', inputs, 0, 'attention');
    const cells = required('mix_cells', inputs, 1, 'cells');
    const shape = expectRank('mix_cells', 'cells', cells, 5, '[n, fe, keh, kew, ce]') as CellsShape;
    const samples = checkMixing('mix_cells', attention, shape, attributes);
    return [float32([samples, attributes.outChannels, ...attributes.kernel, attributes.inChannels])];
  },
  gradient({ inputs, attributes, outputGradients, wanted }) {
    const [attention, cells] = inputs as [Value, Value];
    const dweight = outputGradients[0];
    if (!dweight) return [];
    const { graph } = dweight;
    return [
      wanted[0] ? graph.append(mixCellsBackwardAttentionOperation, [dweight, cells], { ...attributes })[0] : undefined,
      wanted[1]
        ? graph.append(mixCellsBackwardCellsOperation, [dweight, attention], { ...attributes, cellShape: cells.shape })[0]
        : undefined,
    ];
  },
  flops: ({ inputs, outputs }) => mixingFlops(outputs[0] as Value, shapeOf(inputs, 1)[0] as number),
});

export const mixCellsBackwardAttentionOperation = defineOperation<MixAttributes>({
  name: 'mix_cells_backward_attention',
  infer(inputs, attributes) {
    const dweight = required('mix_cells_backward_attention', inputs, 0, 'dweight');
    const cells = required('mix_cells_backward_attention', inputs, 1, 'cells');
    const mixtures = mixturesOf('mix_cells_backward_attention', attributes, cells.shape as unknown as CellsShape);
    return [float32([dweight.shape[0] as number, mixtures, cells.shape[0] as number])];
  },
  flops: ({ inputs }) => mixingFlops(inputs[0] as Value, shapeOf(inputs, 1)[0] as number),
});

export const mixCellsBackwardCellsOperation = defineOperation<MixAttributes & { readonly cellShape: CellsShape }>({
  name: 'mix_cells_backward_cells',
  infer(inputs, { cellShape, ...attributes }) {
    const attention = required('mix_cells_backward_cells', inputs, 1, 'attention');
    checkMixing('mix_cells_backward_cells', attention, cellShape, attributes);
    return [float32(cellShape)];
  },
  flops: ({ inputs, attributes }) => mixingFlops(inputs[0] as Value, attributes.cellShape[0]),
});

/** Weights [N, O, kh, kw, I] of every sample from attention [N, m, n] and cells [n, fe, keh, kew, ce]. */
export function mixCells(attention: Value, cells: Value, attributes: MixAttributes): Value {
  return attention.graph.append(mixCellsOperation, [attention, cells], { ...attributes })[0] as Value;
}

export const mixCellsOperations = [mixCellsOperation, mixCellsBackwardAttentionOperation, mixCellsBackwardCellsOperation];
