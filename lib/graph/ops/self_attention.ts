/** Multi-head scaled dot-product attention among the tokens of each sample (Vaswani et al. 2017, section 3.2). */
import type { Value } from '../graph.js';
import { defineOperation, elements, expectRank, expectShape, float32, type Inputs, required, shapeError, shapeOf } from '../operation.js';

export interface SelfAttentionAttributes {
  /** Divides D; head h owns the channels from h * D/heads to (h + 1) * D/heads. */
  readonly heads: number;
}

type TokensShape = readonly [samples: number, tokens: number, width: number];

/** Checks that the inputs from `first` on are tokens of one shape [N, T, D] that `heads` divides, and returns it. */
function tokensShape(op: string, inputs: Inputs, names: readonly string[], heads: number): TokensShape {
  const shape = expectRank(op, names[0] as string, required(op, inputs, 0, names[0] as string), 3, '[N, T, D]') as TokensShape;
  names.forEach((name, position) => {
    expectShape(op, name, required(op, inputs, position, name), shape);
  });
  if (!Number.isInteger(heads) || heads < 1 || shape[2] % heads !== 0) {
    throw shapeError(op, `expected a number of heads that divides ${shape[2]} channels but received ${heads}`);
  }
  return shape;
}

const selfAttentionOperation = defineOperation<SelfAttentionAttributes>({
  name: 'self_attention',
  infer(inputs, { heads }) {
    const shape = tokensShape('self_attention', inputs, ['query', 'key', 'value'], heads);
    return [float32(shape), float32([shape[0], heads, shape[1]])];
  },
  gradient({ inputs, outputs, attributes, outputGradients: [dy], wanted }) {
    if (!dy) return [];
    const gradients = dy.graph.append(selfAttentionBackwardOperation, [dy, ...inputs, ...outputs], { ...attributes });
    return gradients.map((value, index) => (wanted[index] ? value : undefined));
  },
  flops: ({ outputs }) => {
    const [, tokens] = shapeOf(outputs, 0) as TokensShape;
    return 4 * elements(shapeOf(outputs, 0)) * tokens + 5 * elements(shapeOf(outputs, 1)) * tokens;
  },
});

const selfAttentionBackwardOperation = defineOperation<SelfAttentionAttributes>({
  name: 'self_attention_backward',
  infer(inputs, { heads }) {
    const op = 'self_attention_backward';
    const shape = tokensShape(op, inputs, ['dy', 'query', 'key', 'value', 'y'], heads);
    expectShape(op, 'logSumExp', required(op, inputs, 5, 'logSumExp'), [shape[0], heads, shape[1]]);
    return [float32(shape), float32(shape), float32(shape)];
  },
  flops: ({ inputs }) => {
    const [, tokens] = shapeOf(inputs, 0) as TokensShape;
    return 10 * elements(shapeOf(inputs, 0)) * tokens + 6 * elements(shapeOf(inputs, 5)) * tokens;
  },
});

/**
 * softmax(q kᵀ / √(D/heads)) v for each sample and head; query, key, value and the result [N, T, D]. The probabilities are not kept:
 * the gradient computes them again from the logarithm of each row's sum of exponentials.
 */
export function selfAttention(query: Value, key: Value, value: Value, attributes: SelfAttentionAttributes): Value {
  return query.graph.append(selfAttentionOperation, [query, key, value], { ...attributes })[0] as Value;
}

export const selfAttentionOperations = [selfAttentionOperation, selfAttentionBackwardOperation];
