/**
 * Declarations of the tensors of warehouses and attention modules, under their official state-dict names. All weights are Kaiming normal,
 * fan-out, for ReLU: a standard deviation of sqrt(2 / fan-out); biases start at 0, norms at 1 and 0.
 */
import type { Initialization, TensorDeclaration } from '../graph/declaration.js';
import { kaimingDeviation } from '../graph/initial_values.js';
import type { Allocation, LayerAllocation } from './allocate.js';
import { moduleName } from './layer.js';

const zeros: Initialization = { kind: 'zeros' };
const ones: Initialization = { kind: 'ones' };

/**
 * The cells of every warehouse: `warehouse_manager.weights.<index>`, [n, outChannels, inChannels, ...kernel]. A layer's own cells are
 * initialized as if stacked along the output channels into one convolution weight, so the fan-out counts all of them.
 */
export function cellDeclarations(allocation: Allocation): readonly TensorDeclaration[] {
  return allocation.warehouses.map(({ n, cell, layers }, index) => {
    const [outChannels = 1, , ...kernel] = cell;
    const positions = kernel.reduce((product, size) => product * size, outChannels);
    const ranges = layers
      .filter(({ startCell, endCell }) => endCell > startCell)
      .map(({ startCell, endCell }) => ({
        start: startCell,
        end: endCell,
        deviation: kaimingDeviation((endCell - startCell) * positions),
      }));
    return { name: `warehouse_manager.weights.${index}`, shape: [n, ...cell], channelAxis: 2, initialization: { kind: 'cells', ranges } };
  });
}

export interface LayerDeclarations {
  /** Trained tensors, in the order of the official state dict. */
  readonly parameters: readonly TensorDeclaration[];
  /** Running statistics of the attention's BatchNorm; none with LayerNorm. */
  readonly states: readonly TensorDeclaration[];
}

/** What a layer owns besides its cells: its bias, if any, and its attention. */
export function layerDeclarations(layer: LayerAllocation): LayerDeclarations {
  const { attention } = layer;
  const { hidden, mixtures, cells, nonlocal, odconv } = attention;
  const module = moduleName(layer);
  const declare = (name: string, shape: readonly number[], initialization: Initialization): TensorDeclaration => ({
    name: `${module}.${name}`,
    shape,
    initialization,
  });
  const linear = (name: string, outputs: number, inputs: number): TensorDeclaration =>
    declare(`attention.${name}.weight`, [outputs, inputs], { kind: 'normal', deviation: kaimingDeviation(outputs) });
  const withBias = (name: string, outputs: number): TensorDeclaration[] => [
    linear(name, outputs, hidden),
    declare(`attention.${name}.bias`, [outputs], zeros),
  ];
  const logits = mixtures * (cells + 1);

  const parameters: TensorDeclaration[] = [];
  if (layer.bias) parameters.push(declare('bias', [layer.weightShape[0] as number], zeros));
  if (nonlocal) parameters.push(declare('attention.basis_bias', [logits], zeros));
  parameters.push(linear('fc1', hidden, attention.in));
  if (attention.firstBias) parameters.push(declare('attention.fc1.bias', [hidden], zeros));
  parameters.push(declare('attention.norm1.weight', [hidden], ones), declare('attention.norm1.bias', [hidden], zeros));
  if (nonlocal) {
    const { local, basis, others } = nonlocal;
    parameters.push(linear('fc2', mixtures * (local + basis + 1), hidden), linear('fc3', others, basis));
  } else {
    parameters.push(...withBias('fc2', logits));
  }
  if (odconv) {
    parameters.push(...withBias('channel_fc', odconv.channel), ...withBias('filter_fc', odconv.filter));
    if (odconv.spatial > 0) parameters.push(...withBias('spatial_fc', odconv.spatial));
  }
  const states =
    attention.norm === 'batch'
      ? [declare('attention.norm1.running_mean', [hidden], zeros), declare('attention.norm1.running_var', [hidden], ones)]
      : [];
  return { parameters, states };
}
