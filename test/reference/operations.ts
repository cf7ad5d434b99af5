/** Every op of docs/ops.md once more: plain and in float64. The op's own file in lib/graph/ops shares no code with this. */
import { gelu, geluBackward, relu6, relu6Backward, sigmoid, sigmoidBackward } from './activation.js';
import { attentionFunction, attentionFunctionBackward } from './attention_function.js';
import { attentionModule } from './attention_module.js';
import { convolution, convolutionBackwardInput, convolutionBackwardWeight } from './convolution.js';
import { crossEntropy, crossEntropyBackward } from './cross_entropy.js';
import { dropout } from './dropout.js';
import {
  add,
  addBias,
  cast,
  concat,
  copy,
  fill,
  relu,
  reluBackward,
  reshape,
  slice,
  sliceBackward,
  sumOfSquares,
  sumRows,
  transpose,
} from './elementwise.js';
import { matmul } from './matmul.js';
import {
  mixCells,
  mixCellsBackwardAttention,
  mixCellsBackwardCells,
  mixedConv2d,
  mixedConv2dBackwardInput,
  mixedConv2dBackwardMixing,
} from './mixing.js';
import { multiply, multiplyBackwardFactor } from './multiply.js';
import {
  batchNorm,
  batchNormBackward,
  batchNormInference,
  batchNormInferenceBackward,
  layerNorm,
  layerNormBackward,
  updateRunningStatistics,
} from './normalization.js';
import { normalizedConv2d, normalizedMixedConv2d } from './normalized_convolution.js';
import { Arguments, type ReferenceOperation } from './operation.js';
import { adamw, sgd } from './optimizer.js';
import {
  adaptiveAvgPool2d,
  adaptiveAvgPool2dBackward,
  globalAvgPool,
  globalAvgPoolBackward,
  maxPool2d,
  maxPool2dBackward,
} from './pooling.js';
import { selfAttention, selfAttentionBackward } from './self_attention.js';
import type { Tensor } from './tensor.js';

function convolutionOperations(name: string, samplewise: boolean): Readonly<Record<string, ReferenceOperation>> {
  return {
    [name]: (args) => [convolution(args, args.input(0), args.operand(1), args.optional(2), samplewise)],
    [`${name}_backward_input`]: (args) => [convolutionBackwardInput(args, args.input(0), args.operand(1), samplewise)],
    [`${name}_backward_weight`]: (args) => [convolutionBackwardWeight(args, args.input(0), args.input(1), samplewise)],
  };
}

export const referenceOperations: Readonly<Record<string, ReferenceOperation>> = {
  ...convolutionOperations('conv2d', false),
  ...convolutionOperations('conv3d', false),
  ...convolutionOperations('samplewise_conv2d', true),
  ...convolutionOperations('samplewise_conv3d', true),
  mix_cells: mixCells,
  mix_cells_backward_attention: mixCellsBackwardAttention,
  mix_cells_backward_cells: mixCellsBackwardCells,
  mixed_conv2d: mixedConv2d,
  mixed_conv2d_backward_input: mixedConv2dBackwardInput,
  mixed_conv2d_backward_mixing: mixedConv2dBackwardMixing,
  normalized_conv2d: normalizedConv2d,
  normalized_mixed_conv2d: normalizedMixedConv2d,
  matmul,
  reshape,
  add,
  cast,
  add_bias: addBias,
  sum_rows: sumRows,
  relu,
  relu_backward: reluBackward,
  relu6,
  relu6_backward: relu6Backward,
  gelu,
  gelu_backward: geluBackward,
  sigmoid,
  sigmoid_backward: sigmoidBackward,
  multiply,
  multiply_backward_factor: multiplyBackwardFactor,
  adaptive_avg_pool2d: adaptiveAvgPool2d,
  adaptive_avg_pool2d_backward: adaptiveAvgPool2dBackward,
  global_avg_pool: globalAvgPool,
  global_avg_pool_backward: globalAvgPoolBackward,
  max_pool2d: maxPool2d,
  max_pool2d_backward: maxPool2dBackward,
  batch_norm: batchNorm,
  batch_norm_backward: batchNormBackward,
  batch_norm_inference: batchNormInference,
  batch_norm_inference_backward: batchNormInferenceBackward,
  update_running_statistics: updateRunningStatistics,
  layer_norm: layerNorm,
  layer_norm_backward: layerNormBackward,
  attention_function: attentionFunction,
  attention_function_backward: attentionFunctionBackward,
  attention_module: attentionModule,
  self_attention: selfAttention,
  self_attention_backward: selfAttentionBackward,
  transpose,
  slice,
  slice_backward: sliceBackward,
  concat,
  dropout,
  cross_entropy: crossEntropy,
  cross_entropy_backward: crossEntropyBackward,
  fill,
  copy,
  sum_of_squares: sumOfSquares,
  sgd,
  adamw,
  moving_average: (args) => {
    const [average, values, decay] = [args.input(0).data, args.input(1).data, args.scalar(2)];
    for (let i = 0; i < average.length; i++) average[i] = decay * average[i]! + (1 - decay) * values[i]!;
    return [];
  },
};

/** Runs one op; throws for an op that the reference does not know, and when an output's shape is not the one that the graph gave. */
export function evaluate(
  name: string,
  inputs: readonly (Tensor | undefined)[],
  attributes: Readonly<Record<string, unknown>>,
  outputShapes: readonly (readonly number[])[],
): Tensor[] {
  const operation = referenceOperations[name];
  if (!operation) throw new Error(`the reference does not know the op ${name}`);
  const outputs = operation(new Arguments(name, inputs, attributes, outputShapes));
  outputs.forEach((output, i) => {
    if (`${output.shape}` !== `${outputShapes[i]}`)
      throw new Error(`[${name}] output ${i} has shape [${output.shape}], the graph says [${outputShapes[i]}]`);
  });
  return outputs;
}
