/** Static convolution over height and width: one weight for all samples. */
import type { Value } from '../graph.js';
import { type ConvolutionOptions, defineConvolution } from './convolution.js';

const { operations, append } = defineConvolution('conv2d', 2, false);
export const conv2dOperations = operations;
export const conv2dOperation = operations[0];

/** Convolution of x [N,H,W,C] with weight [O,kh,kw,C/groups] and an optional bias [O]: [N,OH,OW,O]. */
export function conv2d(x: Value, weight: Value, bias?: Value, options: ConvolutionOptions = {}): Value {
  return append(x, weight, bias, options);
}
