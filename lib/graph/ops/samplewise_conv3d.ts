/** Convolution over depth, height and width in which every sample of the batch has a weight of its own. */
import type { Value } from '../graph.js';
import { type ConvolutionOptions, defineConvolution } from './convolution.js';

const { operations, append } = defineConvolution('samplewise_conv3d', 3, true);
export const samplewiseConv3dOperations = operations;

/** Convolution of sample b of x [N,D,H,W,C] with weight b of [N,O,kd,kh,kw,C/groups]; optional bias [O] shared by all: [N,OD,OH,OW,O]. */
export function samplewiseConv3d(x: Value, weight: Value, bias?: Value, options: ConvolutionOptions = {}): Value {
  return append(x, weight, bias, options);
}
