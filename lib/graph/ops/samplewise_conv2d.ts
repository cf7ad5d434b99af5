/** Convolution over height and width in which every sample of the batch has a weight of its own. */
import type { Value } from '../graph.js';
import { type ConvolutionOptions, defineConvolution } from './convolution.js';

const { operations, append } = defineConvolution('samplewise_conv2d', 2, true);
export const samplewiseConv2dOperations = operations;

/** Convolution of sample b of x [N,H,W,C] with weight b of [N,O,kh,kw,C/groups]; optional bias [O] shared by all: [N,OH,OW,O]. */
export function samplewiseConv2d(x: Value, weight: Value, bias?: Value, options: ConvolutionOptions = {}): Value {
  return append(x, weight, bias, options);
}
