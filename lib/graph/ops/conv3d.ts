/** Static convolution over depth, height and width: one weight for all samples. */
import type { Value } from '../graph.js';
import { type ConvolutionOptions, defineConvolution } from './convolution.js';

const { operations, append } = defineConvolution('conv3d', 3, false);
export const conv3dOperations = operations;

/** Convolution of x [N,D,H,W,C] with weight [O,kd,kh,kw,C/groups] and an optional bias [O]: [N,OD,OH,OW,O]. */
export function conv3d(x: Value, weight: Value, bias?: Value, options: ConvolutionOptions = {}): Value {
  return append(x, weight, bias, options);
}
