/**
 * The KernelWarehouse convolution (paper, sections 3.2 to 3.4): attention from the pooled input, mixtures of shared cells, sample-wise
 * convolution.
 */
import { KernelWarehouseError } from '../errors.js';
import type { TensorDeclaration } from '../graph/declaration.js';
import type { Value } from '../graph/graph.js';
import { addBias } from '../graph/ops/add_bias.js';
import { attentionFunction } from '../graph/ops/attention_function.js';
import { concat } from '../graph/ops/concat.js';
import { matmul } from '../graph/ops/matmul.js';
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
import { gateChannels, gateMixtures, gateWeight } from './gates.js';
import type { ConvolutionFactory, ConvolutionSpec, LayerContext } from './layer.js';
import { cellsOf, mixWeight, spreadOverCells } from './mixing.js';
import { batchNormLayer, layerNormLayer } from './normalization.js';
import { type OdconvGates, odconvGates } from './odconv_gates.js';
import { pooledFeatures } from './pooled_features.js';

/** Logits of all cells from local logits, basis coefficients and the logit of the zero cell: [rows, L + K + 1] to [rows, n + 1]. */
function mapBasisToCells(rows: Value, fc3: Value, { local, basis, others, start }: NonlocalBasis): Value {
  const nonlocal = matmul(slice(rows, local, local + basis), fc3, { transposeB: true });
  const before = start > 0 ? [slice(nonlocal, 0, start)] : [];
  const after = start < others ? [slice(nonlocal, start, others)] : [];
  return concat([...before, slice(rows, 0, local), ...after, slice(rows, local + basis, local + basis + 1)]);
}

interface LayerAttention {
  /** [N, m, n] */
  readonly cells: Value;
  readonly odconv?: OdconvGates;
}

/** All attentions of one layer from pooled features [N, C]; n is the number of cells in the warehouse. */
function attentionLayer(
  context: LayerContext,
  pooled: Value,
  name: string,
  layer: LayerAllocation,
  warehouseCells: number,
  tensor: (suffix: string) => Value,
): LayerAttention {
  const { graph } = context;
  const samples = pooled.shape[0] as number;
  const { mixtures, cells, norm, firstBias, nonlocal, odconv } = layer.attention;
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
  const own = attentionFunction(reshape(logits, [samples, mixtures, cells + 1]), graph.control('temperature'), {
    function: layer.attention.function,
    assignment: layer.assignment,
  });
  return {
    cells: spreadOverCells(own, layer.startCell, warehouseCells),
    ...(odconv ? { odconv: odconvGates(active, odconv, tensor) } : {}),
  };
}

/** The kernel of each sample, [N, O, kh, kw, I]; its positions are multiplied by their gates in [N, kh * kw], if there are any. */
function assembleWeight(attention: Value, cells: Value, spec: ConvolutionSpec, spatial: Value | undefined): Value {
  if (!spatial) return mixWeight(attention, cells, spec);
  const single = cells.shape.slice(2, -1).every((size) => size === 1);
  // Gating attentions is cheaper than gating weights, and lets mixing still be fused with the convolution.
  return single ? mixWeight(gateMixtures(attention, spatial), cells, spec) : gateWeight(mixWeight(attention, cells, spec), spatial);
}

/**
 * A factory of KernelWarehouse layers for the layers in `allocation`; others stay static. A layer owns `name.attention.*` and shares
 * `warehouse_manager.weights.<index>` [n, fe, ce, ...cell kernel]. Linear layers are named `name.conv.*`, as in the authors' code.
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
      `layer ${spec.name}: the allocation was made for ` +
        `${describe(layer.kind, layer.weightShape, layer.groups, layer.bias)}, but the network ` +
        `has ${describe(spec.kind, wanted, spec.groups, spec.bias)}; allocate for the layers of this network`,
    );
  }
  const module = moduleName(layer);
  const declarations = new Map(layerDeclarations(layer).parameters.map((declaration) => [declaration.name, declaration]));
  const tensor = (suffix: string): Value => {
    const declaration = declarations.get(`${module}.${suffix}`) as TensorDeclaration;
    return graph.parameter(declaration.name, declaration.shape, declaration);
  };
  const cells = cellsOf(graph.parameter(cellTensor.name, cellTensor.shape, cellTensor));
  const pooled = pooledFeatures(x);
  const { cells: attention, odconv } = attentionLayer(context, pooled, `${module}.attention`, layer, cells.shape[0] as number, (suffix) =>
    tensor(`attention.${suffix}`),
  );
  const weight = assembleWeight(attention, cells, spec, odconv?.spatial);
  const bias = spec.bias ? tensor('bias') : undefined;
  if (!odconv) return convolve(x, weight, bias, spec, true);
  const filtered = gateChannels(convolve(gateChannels(x, odconv.channel), weight, undefined, spec, true), odconv.filter);
  return bias ? addBias(filtered, bias) : filtered;
}
