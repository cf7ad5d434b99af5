/** All primitive ops by name. */
import type { Operation } from '../operation.js';
import { adaptiveAvgPool2dOperations } from './adaptive_avg_pool2d.js';
import { addOperation } from './add.js';
import { addBiasOperations } from './add_bias.js';
import { attentionFunctionOperations } from './attention_function.js';
import { attentionModuleOperation } from './attention_module.js';
import { batchNormOperations } from './batch_norm.js';
import { castOperation } from './cast.js';
import { concatOperations } from './concat.js';
import { conv2dOperations } from './conv2d.js';
import { conv3dOperations } from './conv3d.js';
import { copyOperation } from './copy.js';
import { crossEntropyOperations } from './cross_entropy.js';
import { dropoutOperations } from './dropout.js';
import { fillOperations } from './fill.js';
import { geluOperations } from './gelu.js';
import { globalAvgPoolOperations } from './global_avg_pool.js';
import { layerNormOperations } from './layer_norm.js';
import { leaf } from './leaf.js';
import { matmulOperations } from './matmul.js';
import { maxPool2dOperations } from './max_pool2d.js';
import { mixCellsOperations } from './mix_cells.js';
import { mixedConv2dOperations } from './mixed_conv2d.js';
import { multiplyOperations } from './multiply.js';
import { normalizedConvolutionOperations } from './normalized_convolution.js';
import { optimizerOperations } from './optimizers.js';
import { reluOperations } from './relu.js';
import { relu6Operations } from './relu6.js';
import { reshapeOperation } from './reshape.js';
import { samplewiseConv2dOperations } from './samplewise_conv2d.js';
import { samplewiseConv3dOperations } from './samplewise_conv3d.js';
import { selfAttentionOperations } from './self_attention.js';
import { sigmoidOperations } from './sigmoid.js';
import { sliceOperations } from './slice.js';
import { sumOfSquaresOperations } from './sum_of_squares.js';
import { transposeOperations } from './transpose.js';
import { updateRunningStatisticsOperations } from './update_running_statistics.js';

export const operations: ReadonlyMap<string, Operation> = new Map(
  [
    leaf,
    reshapeOperation,
    addOperation,
    castOperation,
    copyOperation,
    attentionModuleOperation,
    ...adaptiveAvgPool2dOperations,
    ...addBiasOperations,
    ...attentionFunctionOperations,
    ...batchNormOperations,
    ...concatOperations,
    ...conv2dOperations,
    ...conv3dOperations,
    ...crossEntropyOperations,
    ...dropoutOperations,
    ...fillOperations,
    ...geluOperations,
    ...globalAvgPoolOperations,
    ...layerNormOperations,
    ...matmulOperations,
    ...maxPool2dOperations,
    ...mixCellsOperations,
    ...mixedConv2dOperations,
    ...multiplyOperations,
    ...normalizedConvolutionOperations,
    ...optimizerOperations,
    ...reluOperations,
    ...relu6Operations,
    ...samplewiseConv2dOperations,
    ...samplewiseConv3dOperations,
    ...selfAttentionOperations,
    ...sigmoidOperations,
    ...sliceOperations,
    ...sumOfSquaresOperations,
    ...transposeOperations,
    ...updateRunningStatisticsOperations,
  ].map((operation) => [operation.name, operation]),
);
