/**
 * A convolution with the BatchNorm, the residual and the activation that follow it in inference. The pass `fold_batch_norm` makes these;
 * models never append them.
 */
import {
  channels,
  defineOperation,
  elements,
  expectLike,
  expectShape,
  type Operation,
  required,
  shapeOf,
  type TensorType,
} from '../operation.js';
import { type BatchNormActivation, checkActivation } from './batch_norm.js';
import { conv2dOperation } from './conv2d.js';
import { mixedConv2dOperation } from './mixed_conv2d.js';

export interface NormalizationAttributes {
  readonly epsilon: number;
  readonly activation: BatchNormActivation;
}

/** A convolution that BatchNorm can be folded into. */
interface Normalizable {
  readonly convolution: Operation;
  /**
   * The position of its optional bias, which is its last input. Scale, shift, mean and variance, each [O], and an optional residual follow
   * it.
   */
  readonly bias: number;
  readonly normalized: Operation;
}

/** With the attribute and the output `means` if `pooling`. */
function normalizable(name: string, convolution: Operation, bias: number, pooling: boolean): Normalizable {
  const residual = bias + 5;
  const ofConvolution = <T>(inputs: readonly T[]): T[] => inputs.slice(0, bias + 1);
  const normalized = defineOperation<NormalizationAttributes & { readonly means?: boolean }>({
    name,
    infer(inputs, attributes) {
      const y = convolution.infer(ofConvolution(inputs), { ...attributes })[0] as TensorType;
      ['scale', 'shift', 'mean', 'variance'].forEach((vector, index) => {
        expectShape(name, vector, required(name, inputs, bias + 1 + index, vector), [channels(y)]);
      });
      if (inputs[residual]) expectLike(name, 'residual', inputs[residual], y);
      checkActivation(name, attributes.activation);
      const means: TensorType = { type: 'float32', shape: [y.shape[0] as number, channels(y)] };
      return pooling && attributes.means ? [y, means] : [y];
    },
    flops({ inputs, outputs, attributes }) {
      const each = 2 + (inputs[residual] ? 1 : 0) + (attributes.activation === 'none' ? 0 : 1) + (outputs.length - 1);
      const convolved = convolution.flops({ inputs: ofConvolution(inputs), outputs, attributes: { ...attributes } });
      return convolved + each * elements(shapeOf(outputs, 0));
    },
    activations: { inputs: [0, residual], outputs: [0], begins: true },
    sharing: [{ output: 0, input: residual, kind: 'may' }],
  });
  return { convolution, bias, normalized };
}

/** `normalized_mixed_conv2d` has a second output with the attribute `means`: y averaged over its positions, [N, O]. */
const all = [
  normalizable('normalized_conv2d', conv2dOperation, 2, false),
  normalizable('normalized_mixed_conv2d', mixedConv2dOperation, 3, true),
];

/** By the name of the convolution. */
export const normalizableConvolutions: ReadonlyMap<string, Normalizable> = new Map(all.map((each) => [each.convolution.name, each]));

export const normalizedConvolutionOperations = all.map(({ normalized }) => normalized);
