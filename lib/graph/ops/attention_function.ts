/**
 * From logits to attentions: the contrasting-driven attention function, or one of those that the paper compares it with (Table 8), blended
 * with the initial assignment by temperature (paper, equation 4). DY-Conv and ODConv use the same functions, without a zero cell and with
 * logits divided by the softmax temperature.
 */
import type { Value } from '../graph.js';
import { defineOperation, elements, expectRank, expectShape, float32, required, shapeError, shapeOf } from '../operation.js';

/**
 * The function f of a row of logits z. `contrasting`: z / (Σ|z| + epsilon); `softmax` over the row; `sigmoid` of each logit; `rectified`:
 * max(z, 0) / (Σ|z| + epsilon).
 */
export type AttentionFunction = 'contrasting' | 'softmax' | 'sigmoid' | 'rectified';

export const attentionFunctions: readonly AttentionFunction[] = ['contrasting', 'softmax', 'sigmoid', 'rectified'];

export interface AttentionFunctionAttributes {
  readonly function: AttentionFunction;
  /** Whether the last logit of a row belongs to the zero cell, which counts in the sums of f and has no attention. */
  readonly zeroCell: boolean;
  /**
   * For each of the m mixtures, the cells where beta is 1; index n is the zero cell. Empty: no initial assignment, whatever the
   * temperature.
   */
  readonly assignment: readonly (readonly number[])[];
  /** Keeps sums of magnitudes away from zero. */
  readonly epsilon: number;
}

interface AttentionFunctionOptions extends Pick<AttentionFunctionAttributes, 'function' | 'assignment'> {
  /** Default 0.001. */
  readonly epsilon?: number;
  /** Default true. */
  readonly zeroCell?: boolean;
  /** T [], above 0: divides the logits of `softmax` and `sigmoid`; the other functions ignore it. */
  readonly softmaxTemperature?: Value;
}

const attentionFunctionOperation = defineOperation<AttentionFunctionAttributes>({
  name: 'attention_function',
  infer(inputs, attributes) {
    const logits = required('attention_function', inputs, 0, 'logits');
    const [samples, m, columns] = expectRank('attention_function', 'logits', logits, 3, '[N, m, n+1]') as [number, number, number];
    expectShape('attention_function', 'temperature', required('attention_function', inputs, 1, 'temperature'), []);
    if (inputs[2]) expectShape('attention_function', 'softmax temperature', inputs[2], []);
    const { assignment, zeroCell } = attributes;
    if (!attentionFunctions.includes(attributes.function)) {
      throw shapeError(
        'attention_function',
        `expected one of the functions ${attentionFunctions.join(', ')} but received '${attributes.function}'`,
      );
    }
    if (assignment.length !== 0 && assignment.length !== m)
      throw shapeError(
        'attention_function',
        `expected an assignment for each of ${m} mixtures, or none, but received ${assignment.length}`,
      );
    if (assignment.some((cells) => cells.some((cell) => !Number.isInteger(cell) || cell < 0 || cell >= columns))) {
      throw shapeError('attention_function', `the assignment names a cell outside 0..${columns - 1}`);
    }
    return [float32([samples, m, zeroCell ? columns - 1 : columns])];
  },
  gradient({ inputs, attributes, outputGradients: [dattention] }) {
    return [
      dattention && (dattention.graph.append(attentionFunctionBackwardOperation, [dattention, ...inputs], { ...attributes })[0] as Value),
    ];
  },
  flops: ({ inputs }) => 5 * elements(shapeOf(inputs, 0)),
});

const attentionFunctionBackwardOperation = defineOperation<AttentionFunctionAttributes>({
  name: 'attention_function_backward',
  infer: (inputs) => [float32(required('attention_function_backward', inputs, 1, 'logits').shape)],
  flops: ({ inputs }) => 8 * elements(shapeOf(inputs, 1)),
});

/**
 * Attention [N, m, n] = (1 - temperature) f(logits) + temperature beta, from logits [N, m, n+1]. The zero cell's column counts in the
 * sums of f and is then dropped; without a zero cell logits are [N, m, n].
 */
export function attentionFunction(logits: Value, temperature: Value, options: AttentionFunctionOptions): Value {
  const { function: name, assignment, epsilon = 1e-3, zeroCell = true, softmaxTemperature } = options;
  const inputs = [logits, temperature, ...(softmaxTemperature ? [softmaxTemperature] : [])];
  return logits.graph.append(attentionFunctionOperation, inputs, { function: name, assignment, epsilon, zeroCell })[0] as Value;
}

export const attentionFunctionOperations = [attentionFunctionOperation, attentionFunctionBackwardOperation];
