/**
 * The whole attention module of a layer, for inference (paper, appendix A.3): two linear layers with a normalization and a ReLU between
 * them, then the attention function. DY-Conv's has no normalization. The pass `fuse_attention` makes this one step from six tiny ones.
 */
import { defineOperation, elements, expectRank, expectShape, float32, required, shapeError, shapeOf } from '../operation.js';
import type { AttentionFunctionAttributes } from './attention_function.js';

export interface AttentionModuleAttributes extends AttentionFunctionAttributes {
  /** m */
  readonly mixtures: number;
  /** Of the normalization; 0 without one. */
  readonly normEpsilon: number;
}

const name = 'attention_module';

/**
 * Inputs: pooled [N, C]; first weight [h, C] and bias? [h]; scale? [h], shift? [h], mean? [h] and variance? [h] of the normalization;
 * second weight [m(n+1), h] and bias [m(n+1)]; temperature []; softmax temperature? []. The normalization is BatchNorm with fixed
 * statistics; without mean and variance it is LayerNorm; without scale and shift there is none. Without a zero cell there are m n logits.
 */
export const attentionModuleOperation = defineOperation<AttentionModuleAttributes>({
  name,
  infer(inputs, { mixtures, assignment, zeroCell }) {
    const [samples, channels] = expectRank(name, 'pooled', required(name, inputs, 0, 'pooled'), 2, '[N, C]') as [number, number];
    const [hidden] = expectRank(name, 'first weight', required(name, inputs, 1, 'first weight'), 2, '[h, C]') as [number, number];
    expectShape(name, 'first weight', required(name, inputs, 1, 'first weight'), [hidden, channels]);
    for (const [position, vector] of ['first bias', 'scale', 'shift', 'mean', 'variance'].entries()) {
      const value = inputs[2 + position];
      if (value) expectShape(name, vector, value, [hidden]);
    }
    if ((inputs[3] === undefined) !== (inputs[4] === undefined)) throw shapeError(name, 'expected both scale and shift, or neither');
    if ((inputs[5] === undefined) !== (inputs[6] === undefined)) throw shapeError(name, 'expected both mean and variance, or neither');
    if (inputs[5] && !inputs[3]) throw shapeError(name, 'expected scale and shift where there are mean and variance');
    const second = required(name, inputs, 7, 'second weight');
    const [logits] = expectRank(name, 'second weight', second, 2, '[m(n+1), h]') as [number, number];
    expectShape(name, 'second weight', second, [logits, hidden]);
    expectShape(name, 'second bias', required(name, inputs, 8, 'second bias'), [logits]);
    expectShape(name, 'temperature', required(name, inputs, 9, 'temperature'), []);
    if (inputs[10]) expectShape(name, 'softmax temperature', inputs[10], []);
    const cells = logits / mixtures - (zeroCell ? 1 : 0);
    if (!(Number.isInteger(cells) && cells > 0)) throw shapeError(name, `${logits} logits are not those of ${mixtures} mixtures`);
    if (assignment.length !== 0 && assignment.length !== mixtures) {
      throw shapeError(name, `expected an assignment for each of ${mixtures} mixtures, or none, but received ${assignment.length}`);
    }
    return [float32([samples, mixtures, cells])];
  },
  flops({ inputs }) {
    const samples = shapeOf(inputs, 0)[0] as number;
    const [hidden, logits] = [shapeOf(inputs, 1)[0] as number, shapeOf(inputs, 8)[0] as number];
    const normalization = inputs[5] ? 2 : inputs[3] ? 6 : 0;
    return samples * (2 * elements(shapeOf(inputs, 1)) + (normalization + 1) * hidden + 2 * elements(shapeOf(inputs, 7)) + 5 * logits);
  },
});
