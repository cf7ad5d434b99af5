/** The contrasting attention function (paper, equation 3) blended with the initial assignment by temperature (equation 4). */
import type { Value } from '../graph.js';
import { defineOperation, elements, expectRank, expectShape, float32, required, shapeError, shapeOf } from '../operation.js';

export interface ContrastingAttributes {
  /** For each of the m mixtures the cells where beta is 1; index n is the zero cell. */
  readonly assignment: readonly (readonly number[])[];
  readonly epsilon: number;
}

const contrastingAttentionOperation = defineOperation<ContrastingAttributes>({
  name: 'contrasting_attention',
  infer(inputs, { assignment }) {
    const logits = required('contrasting_attention', inputs, 0, 'logits');
    const [samples, m, columns] = expectRank('contrasting_attention', 'logits', logits, 3, '[N, m, n+1]') as [number, number, number];
    expectShape('contrasting_attention', 'temperature', required('contrasting_attention', inputs, 1, 'temperature'), []);
    if (assignment.length !== m)
      throw shapeError('contrasting_attention', `expected an assignment for each of ${m} mixtures but received ${assignment.length}`);
    if (assignment.some((cells) => cells.some((cell) => !Number.isInteger(cell) || cell < 0 || cell >= columns))) {
      throw shapeError('contrasting_attention', `the assignment names a cell outside 0..${columns - 1}`);
    }
    return [float32([samples, m, columns - 1])];
  },
  gradient({ inputs, attributes, outputGradients: [dattention] }) {
    const [logits, temperature] = inputs as [Value, Value];
    return [
      dattention &&
        (dattention.graph.append(contrastingAttentionBackwardOperation, [dattention, logits, temperature], { ...attributes })[0] as Value),
    ];
  },
  flops: ({ inputs }) => 5 * elements(shapeOf(inputs, 0)),
});

const contrastingAttentionBackwardOperation = defineOperation<ContrastingAttributes>({
  name: 'contrasting_attention_backward',
  infer: (inputs) => [float32(required('contrasting_attention_backward', inputs, 1, 'logits').shape)],
  flops: ({ inputs }) => 8 * elements(shapeOf(inputs, 1)),
});

/** Attention [N, m, n] from logits [N, m, n+1]; the zero cell's column counts in the sum of magnitudes and is then dropped. */
export function contrastingAttention(logits: Value, temperature: Value, assignment: readonly (readonly number[])[], epsilon = 1e-3): Value {
  return logits.graph.append(contrastingAttentionOperation, [logits, temperature], { assignment, epsilon })[0] as Value;
}

export const contrastingAttentionOperations = [contrastingAttentionOperation, contrastingAttentionBackwardOperation];
