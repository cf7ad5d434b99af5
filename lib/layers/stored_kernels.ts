/** The stored kernels of layers that mix whole kernels of their own. */
import type { Initialization } from '../graph/declaration.js';
import type { Value } from '../graph/graph.js';
import { reshape } from '../graph/ops/reshape.js';
import type { ConvolutionSpec, LayerContext } from './layer.js';

/**
 * `name.weight`: K kernels [K, O, C/groups, ...kernel] of a layer, or [K, O, C] of a linear layer.
 * @returns cells [K, O, ...kernel, C/groups] of a warehouse that only this layer uses
 */
export function kernelParameter(
  { graph }: LayerContext,
  { name, kind, inChannels, outChannels, kernel, groups }: ConvolutionSpec,
  count: number,
  initialization: Initialization,
): Value {
  const depth = inChannels / groups;
  if (kind === 'linear')
    return reshape(graph.parameter(`${name}.weight`, [count, outChannels, depth], { initialization }), [count, outChannels, 1, depth]);
  return graph.parameter(`${name}.weight`, [count, outChannels, depth, ...kernel], { channelAxis: 2, initialization });
}

/**
 * Like `kernelParameter`, but each kernel is cut into its positions, row by row; the kernels of one position are adjacent in memory.
 * @returns cells [positions * K, O, ...1, C/groups]; cell p * K + k is position p of kernel k
 */
export function kernelPositions(
  { graph }: LayerContext,
  { name, inChannels, outChannels, kernel, groups }: ConvolutionSpec,
  count: number,
  initialization: Initialization,
): Value {
  const depth = inChannels / groups;
  const weight = graph.parameter(`${name}.weight`, [count, outChannels, depth, ...kernel], { channelAxis: [0, 2], initialization });
  const positions = kernel.reduce((product, size) => product * size, 1);
  return reshape(weight, [positions * count, outChannels, ...kernel.map(() => 1), depth]);
}
