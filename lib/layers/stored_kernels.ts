/** The stored kernels of layers that mix whole kernels of their own. */
import type { Initialization } from '../graph/declaration.js';
import type { Value } from '../graph/graph.js';
import { reshape } from '../graph/ops/reshape.js';
import type { ConvolutionSpec, LayerContext } from './layer.js';

/**
 * `name.weight`: K kernels [K, O, C/groups, ...kernel] of a layer, a linear layer's [K, O, C].
 * @returns cells [K, O, ...kernel, C/groups] of a warehouse of this layer alone
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
 * As `kernelParameter`, each kernel cut into its positions, row by row, which stand together in memory.
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
