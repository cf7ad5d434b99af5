/** The KernelWarehouse convolution (paper, section 3.2): attention from the pooled input, mixtures of shared cells, sample-wise convolution. */
import { KernelWarehouseError } from '../errors.js';
import type { TensorDeclaration } from '../graph/declaration.js';
import type { Value } from '../graph/graph.js';
import { channels, elements } from '../graph/operation.js';
import { addBias } from '../graph/ops/add_bias.js';
import { concat } from '../graph/ops/concat.js';
import { contrastingAttention } from '../graph/ops/contrasting_attention.js';
import { globalAvgPool } from '../graph/ops/global_avg_pool.js';
import { matmul } from '../graph/ops/matmul.js';
import { mixCells } from '../graph/ops/mix_cells.js';
import { relu } from '../graph/ops/relu.js';
import { reshape } from '../graph/ops/reshape.js';
import { slice } from '../graph/ops/slice.js';
import {
  type Allocation,
  cellDeclarations,
  type LayerAllocation,
  layerDeclarations,
  moduleName,
  type NonlocalBasis,
} from '../warehouse/index.js';
import { convolve, staticConvolution } from './convolution.js';
import type { ConvolutionFactory, ConvolutionSpec, LayerContext } from './layer.js';
import { batchNormLayer, layerNormLayer } from './normalization.js';

/** Logits of all cells from local logits, basis coefficients and the zero cell's logit: [rows, L + K + 1] to [rows, n + 1]. */
function mapBasisToCells(rows: Value, fc3: Value, { local, basis, others, start }: NonlocalBasis): Value {
  const nonlocal = matmul(slice(rows, local, local + basis), fc3, { transposeB: true });
  const before = start > 0 ? [slice(nonlocal, 0, start)] : [];
  const after = start < others ? [slice(nonlocal, start, others)] : [];
  return concat([...before, slice(rows, 0, local), ...after, slice(rows, local + basis, local + basis + 1)]);
}

/** Attention [N, m, n] of one layer from pooled features [N, C]. */
function attentionLayer(
  context: LayerContext,
  pooled: Value,
  name: string,
  layer: LayerAllocation,
  tensor: (suffix: string) => Value,
): Value {
  const { graph } = context;
  const samples = pooled.shape[0] as number;
  const { mixtures, cells, norm, firstBias, nonlocal } = layer.attention;
  const hidden = matmul(pooled, tensor('fc1.weight'), { transposeB: true }, firstBias ? tensor('fc1.bias') : undefined);
  const normalize = norm === 'batch' ? batchNormLayer : layerNormLayer;
  const active = relu(normalize(context, hidden, `${name}.norm1`));
  let logits: Value;
  if (nonlocal) {
    const rows = matmul(active, tensor('fc2.weight'), { transposeB: true });
    const mapped = mapBasisToCells(
      reshape(rows, [samples * mixtures, nonlocal.local + nonlocal.basis + 1]),
      tensor('fc3.weight'),
      nonlocal,
    );
    logits = addBias(reshape(mapped, [samples, mixtures * (cells + 1)]), tensor('basis_bias'));
  } else {
    logits = matmul(active, tensor('fc2.weight'), { transposeB: true }, tensor('fc2.bias'));
  }
  return contrastingAttention(reshape(logits, [samples, mixtures, cells + 1]), graph.control('temperature'), layer.assignment);
}

/**
 * Spatial sizes as rows and columns, which is what mixing knows: it only counts positions in row-major order, and a cell is one position or
 * the whole kernel.
 */
function rowsAndColumns(sizes: readonly number[]): readonly [number, number] {
  return [elements(sizes.slice(0, -1)), sizes.at(-1) as number];
}

/**
 * A factory of KernelWarehouse layers for the layers that `allocation` knows; others stay static.
 * A layer owns `name.attention.*` and shares `warehouse_manager.weights.<index>` [n, fe, ce, ...cell kernel]; linear layers are named `name.conv.*`, as the authors do.
 */
export function kernelWarehouseConvolution(allocation: Allocation): ConvolutionFactory {
  const layers = new Map(allocation.warehouses.flatMap((warehouse) => warehouse.layers.map((layer) => [layer.name, layer] as const)));
  const cellTensors = cellDeclarations(allocation);
  return (context, x, spec) => {
    const layer = layers.get(spec.name);
    if (!layer) return staticConvolution(context, x, spec);
    const { graph } = context;
    return graph.labelled(spec.name, () =>
      kernelWarehouseLayer(context, x, spec, layer, cellTensors[layer.warehouse] as TensorDeclaration),
    );
  };
}

function kernelWarehouseLayer(
  context: LayerContext,
  x: Value,
  spec: ConvolutionSpec,
  layer: LayerAllocation,
  cellTensor: TensorDeclaration,
): Value {
  const { graph } = context;
  const wanted = [spec.outChannels, spec.inChannels / spec.groups, ...spec.kernel];
  if (layer.kind !== spec.kind || layer.groups !== spec.groups || layer.bias !== spec.bias || layer.weightShape.join() !== wanted.join()) {
    const describe = (kind: string, weight: readonly number[], groups: number, bias: boolean): string =>
      `a ${kind} with a weight of [${weight.join(', ')}], groups ${groups} and ${bias ? 'a' : 'no'} bias`;
    throw new KernelWarehouseError(
      'ERR_KW_ALLOCATION',
      `layer ${spec.name}: the allocation was made for ${describe(layer.kind, layer.weightShape, layer.groups, layer.bias)}, but the network ` +
        `has ${describe(spec.kind, wanted, spec.groups, spec.bias)}; allocate for the layers of this network`,
    );
  }
  const module = moduleName(layer);
  const declarations = new Map(layerDeclarations(layer).parameters.map((declaration) => [declaration.name, declaration]));
  const tensor = (suffix: string): Value => {
    const declaration = declarations.get(`${module}.${suffix}`) as TensorDeclaration;
    return graph.parameter(declaration.name, declaration.shape, declaration);
  };
  const stored = graph.parameter(cellTensor.name, cellTensor.shape, cellTensor);
  const [count, cellOut, ...cellKernel] = stored.shape.slice(0, -1) as [number, number, ...number[]];
  const cells = reshape(stored, [count, cellOut, ...rowsAndColumns(cellKernel), channels(stored)]);

  const features = x.shape.length === 2 ? reshape(x, [x.shape[0] as number, 1, channels(x)]) : x;
  const attention = attentionLayer(context, globalAvgPool(features), `${module}.attention`, layer, (suffix) =>
    tensor(`attention.${suffix}`),
  );
  const weight = mixCells(attention, cells, {
    outChannels: spec.outChannels,
    inChannels: spec.inChannels / spec.groups,
    kernel: rowsAndColumns(spec.kernel),
  });
  return convolve(x, weight, spec.bias ? tensor('bias') : undefined, spec, true);
}
