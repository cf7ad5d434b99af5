/** The KernelWarehouse convolution (paper, section 3.2): attention from the pooled input, mixtures of shared cells, sample-wise convolution. */
import { KernelWarehouseError } from '../errors.js';
import type { TensorDeclaration } from '../graph/declaration.js';
import type { Value } from '../graph/graph.js';
import { channels, elements } from '../graph/operation.js';
import { addBias } from '../graph/ops/add_bias.js';
import { attentionFunction } from '../graph/ops/attention_function.js';
import { concat } from '../graph/ops/concat.js';
import { globalAvgPool } from '../graph/ops/global_avg_pool.js';
import { matmul } from '../graph/ops/matmul.js';
import { mixCells } from '../graph/ops/mix_cells.js';
import { relu } from '../graph/ops/relu.js';
import { reshape } from '../graph/ops/reshape.js';
import { samplewiseConv2d } from '../graph/ops/samplewise_conv2d.js';
import { slice } from '../graph/ops/slice.js';
import {
  type Allocation,
  cellDeclarations,
  type LayerAllocation,
  layerDeclarations,
  moduleName,
  type NonlocalBasis,
} from '../warehouse/index.js';
import { staticConvolution } from './convolution.js';
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
  return attentionFunction(reshape(logits, [samples, mixtures, cells + 1]), graph.control('temperature'), {
    function: 'contrasting',
    assignment: layer.assignment,
  });
}

/** Physical [N, H, W, C] of any input: tokens [N, T, C] are one row of T positions, features [N, C] one position. */
function asImage(x: Value): Value {
  return x.shape.length === 4 ? x : reshape(x, [x.shape[0] as number, 1, elements(x.shape.slice(1, -1)), channels(x)]);
}

/**
 * A factory of KernelWarehouse layers for the layers that `allocation` knows; others stay static.
 * A layer owns `name.attention.*` and shares `warehouse_manager.weights.<index>`; linear layers are named `name.conv.*`, as the authors do.
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
  if (layer.inChannels !== spec.inChannels || layer.weightShape[0] !== spec.outChannels || layer.groups !== spec.groups) {
    throw new KernelWarehouseError(
      'ERR_KW_ALLOCATION',
      `layer ${spec.name}: the allocation was made for a kernel of [${layer.weightShape.join(', ')}]`,
    );
  }
  const module = moduleName(layer);
  const declarations = new Map(layerDeclarations(layer).parameters.map((declaration) => [declaration.name, declaration]));
  const tensor = (suffix: string): Value => {
    const declaration = declarations.get(`${module}.${suffix}`) as TensorDeclaration;
    return graph.parameter(declaration.name, declaration.shape, declaration);
  };
  const stored = graph.parameter(cellTensor.name, cellTensor.shape, cellTensor);
  const cells = stored.shape.length === 5 ? stored : reshape(stored, [...stored.shape.slice(0, 2), 1, ...stored.shape.slice(2)]);

  const image = asImage(x);
  const attention = attentionLayer(context, globalAvgPool(image), `${module}.attention`, layer, (suffix) => tensor(`attention.${suffix}`));
  const weight = mixCells(attention, cells, {
    outChannels: spec.outChannels,
    inChannels: spec.inChannels / spec.groups,
    kernel: spec.kind === 'linear' ? [1, 1] : [spec.kernel, spec.kernel],
  });
  const { stride, padding, dilation, groups } = spec;
  const y = samplewiseConv2d(image, weight, spec.bias ? tensor('bias') : undefined, { stride, padding, dilation, groups });
  return spec.kind === 'linear' ? reshape(y, [...x.shape.slice(0, -1), spec.outChannels]) : y;
}
