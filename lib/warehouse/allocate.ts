/**
 * The warehouses of a network as data: one pure function from the shapes of its layers to cells, mixtures, assignments and parameter
 * counts.
 */
import { KernelWarehouseError } from '../errors.js';
import {
  type AttentionInitialization,
  assignCells,
  attentionInitializations,
  cellCount,
  cellsOfLayer,
  validateBudget,
  validateInitialization,
} from './assignment.js';
import {
  type AttentionFunction,
  type AttentionNorm,
  type AttentionShape,
  attentionFunctions,
  attentionParameterCount,
  attentionShape,
} from './attention.js';
import { type LayerKind, type LayerShape, validateLayers, weightShape } from './layer.js';
import { type AllocationOptions, type PerWarehouse, withDefaults } from './options.js';
import { type PartitionOptions, partition } from './partition.js';
import { groupLayers, type SharingGroup } from './sharing.js';

export interface LayerAllocation {
  readonly name: string;
  readonly kind: LayerKind;
  /** Index into `Allocation.warehouses`. */
  readonly warehouse: number;
  /** The mixed kernel in PyTorch's order: [outChannels, inChannels / groups, ...kernel]; linear: [out, in, 1]. */
  readonly weightShape: readonly number[];
  readonly inChannels: number;
  readonly groups: number;
  readonly bias: boolean;
  /** m of the layer. Mixture (s * Go + go) * Gi + gi is the cell at spatial position s (row-major), output go, input gi. */
  readonly mixtures: number;
  /** Cells startCell .. endCell - 1 belong to this layer: it initializes them, and β binds its mixtures to them. */
  readonly startCell: number;
  readonly endCell: number;
  /**
   * For each mixture, the columns of its attention where β is 1. Columns are the cells of the warehouse or, without cell sharing, the
   * mixture's own; the number of columns means the zero cell. Empty if there is no β.
   */
  readonly assignment: readonly (readonly number[])[];
  readonly attention: AttentionShape;
  readonly attentionParameters: number;
}

export interface Warehouse {
  /** The fused sharing name; see `fuseSharingName`. */
  readonly name: string;
  /** Shape of a cell in PyTorch's order: [outChannels, inChannels, ...kernel]. */
  readonly cell: readonly number[];
  /** Mixtures of all layers together (the paper's m_t). */
  readonly m: number;
  /** Cells. */
  readonly n: number;
  readonly budget: number;
  readonly reduction: number;
  /** In the order in which cells are given out. */
  readonly layers: readonly LayerAllocation[];
  /** Values in the cells; attentions are counted with their layers. */
  readonly parameters: number;
}

export interface Allocation {
  /** In the official numbering: `warehouse_manager.weights.<index>` in a state dict. */
  readonly warehouses: readonly Warehouse[];
  readonly cellParameters: number;
  readonly attentionParameters: number;
  /** Cells and attentions; the layers' own biases and everything static are not included. */
  readonly parameters: number;
}

function resolve<T>(
  option: string,
  value: PerWarehouse<T>,
  groups: readonly SharingGroup[],
  expected: string,
  valid: (value: T) => boolean,
): readonly T[] {
  const list = Array.isArray(value) ? (value as readonly T[]) : [value as T];
  if (list.length !== 1 && list.length !== groups.length) {
    throw new KernelWarehouseError(
      'ERR_KW_ALLOCATION',
      `${option}: expected one value, or ${groups.length} for the warehouses ${groups.map(({ name }) => name).join(', ')}; ` +
        `got ${list.length}`,
    );
  }
  for (const item of list) {
    if (!valid(item)) throw new KernelWarehouseError('ERR_KW_ALLOCATION', `${option}: expected ${expected}, got ${String(item)}`);
  }
  return groups.map((_, index) => list[list.length === 1 ? 0 : index] as T);
}

function oneOf<T extends string>(option: string, value: T, known: readonly T[]): T {
  if (known.includes(value)) return value;
  throw new KernelWarehouseError('ERR_KW_ALLOCATION', `${option}: expected ${known.join(', ')}; got ${String(value)}`);
}

/** Temperature of ODConv's attentions; undefined when the options ask for none. */
function odconvTemperature(options: AllocationOptions): number | undefined {
  const { odconvAttentions, odconvTemperature: temperature } = withDefaults(options);
  if (odconvAttentions && !(Number.isFinite(temperature) && temperature > 0)) {
    throw new KernelWarehouseError('ERR_KW_ALLOCATION', `odconvTemperature: expected a positive number, got ${temperature}`);
  }
  if (!odconvAttentions && options.odconvTemperature !== undefined) {
    throw new KernelWarehouseError('ERR_KW_ALLOCATION', 'odconvTemperature: there are no such attentions; set odconvAttentions too');
  }
  return odconvAttentions ? temperature : undefined;
}

function total(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}

/** The options of one warehouse. */
interface WarehouseOptions extends PartitionOptions {
  readonly budget: number;
  readonly reduction: number;
  readonly nonlocalBasisRatio: number;
  readonly initialization: AttentionInitialization;
}

/** Each group's options, in the order of the groups. */
function optionsOfGroups(groups: readonly SharingGroup[], options: Required<AllocationOptions>): readonly WarehouseOptions[] {
  const isPositive = (value: number): boolean => Number.isFinite(value) && value > 0;
  const ratios = (option: 'budget' | 'reduction' | 'nonlocalBasisRatio') =>
    resolve(option, options[option], groups, 'a positive number', isPositive);
  const shares = (option: 'cellInRatio' | 'cellOutRatio') =>
    resolve(option, options[option], groups, 'a number above 0, at most 1', (item: number) => isPositive(item) && item <= 1);
  const budgets = ratios('budget');
  const reductions = ratios('reduction');
  const cellInRatios = shares('cellInRatio');
  const cellOutRatios = shares('cellOutRatio');
  const nonlocalBasisRatios = ratios('nonlocalBasisRatio');
  const isBoolean = (item: boolean) => typeof item === 'boolean';
  const spatialPartitions = resolve('spatialPartition', options.spatialPartition, groups, 'a boolean', isBoolean);
  const initializations = resolve<AttentionInitialization>(
    'attentionInitialization',
    options.attentionInitialization,
    groups,
    attentionInitializations.join(', '),
    (item) => attentionInitializations.includes(item),
  );
  return groups.map((_, index) => ({
    budget: budgets[index] as number,
    reduction: reductions[index] as number,
    cellInRatio: cellInRatios[index] as number,
    cellOutRatio: cellOutRatios[index] as number,
    nonlocalBasisRatio: nonlocalBasisRatios[index] as number,
    spatialPartition: spatialPartitions[index] as boolean,
    initialization: initializations[index] as AttentionInitialization,
  }));
}

/** What all warehouses have in common. */
interface CommonOptions {
  readonly cellSharing: boolean;
  readonly norm: AttentionNorm;
  readonly attentionFunction: AttentionFunction;
  readonly odconvTemperature: number | undefined;
}

/** The part of a layer: its place in the warehouse, and what it takes from it. */
interface Share {
  readonly warehouse: number;
  /** Mixtures of the layer. */
  readonly mixtures: number;
  /** Cells of the warehouse. */
  readonly cells: number;
  readonly startCell: number;
}

function allocateLayer(
  layer: LayerShape,
  { warehouse, mixtures, cells, startCell }: Share,
  { budget, reduction, nonlocalBasisRatio, initialization }: WarehouseOptions,
  { cellSharing, norm, attentionFunction, odconvTemperature: temperature }: CommonOptions,
): LayerAllocation {
  const attention = attentionShape(layer, mixtures, cellSharing ? cells : budget, {
    norm,
    function: attentionFunction,
    reduction,
    budget,
    nonlocalBasisRatio,
    startCell,
    odconvTemperature: temperature,
  });
  return {
    name: layer.name,
    kind: layer.kind,
    warehouse,
    weightShape: weightShape(layer),
    inChannels: layer.inChannels,
    groups: layer.groups ?? 1,
    bias: layer.bias ?? false,
    mixtures,
    startCell,
    endCell: startCell + cellsOfLayer(mixtures, budget),
    assignment: cellSharing
      ? assignCells(mixtures, cells, budget, startCell, initialization)
      : Array.from({ length: mixtures }, () => assignCells(1, budget, budget, 0, initialization)).flat(),
    attention,
    attentionParameters: attentionParameterCount(attention),
  };
}

function allocateWarehouse(group: SharingGroup, index: number, options: WarehouseOptions, common: CommonOptions): Warehouse {
  const { budget, reduction, initialization } = options;
  const { cell, mixtures } = partition(group, options);
  validateBudget(group.name, mixtures, budget);
  validateInitialization(group.name, mixtures, budget, initialization);
  if (!common.cellSharing && budget < 1) {
    throw new KernelWarehouseError(
      'ERR_KW_ALLOCATION',
      `warehouse ${group.name}: without cell sharing every mixture needs a cell of its own, but the budget is ${budget}; ` +
        'give a budget of 1 or more',
    );
  }
  const m = total(mixtures);
  const n = cellCount(m, budget);
  const layers: LayerAllocation[] = [];
  for (const [position, layer] of group.layers.entries()) {
    const share = { warehouse: index, mixtures: mixtures[position] as number, cells: n, startCell: layers.at(-1)?.endCell ?? 0 };
    layers.push(allocateLayer(layer, share, options, common));
  }
  const parameters = cell.reduce((product, size) => product * size, n);
  return { name: group.name, cell, m, n, budget, reduction, layers, parameters };
}

/**
 * Shares, partitions and assigns: turns layers, in the order in which modules are visited, into warehouses. Pure and deterministic; the
 * result is plain data. Agrees with the authors' Warehouse_Manager (reserve, store, allocate) on every released configuration.
 * @throws ERR_KW_ALLOCATION, naming warehouse and layers, for layers that cannot share cells, ratios that do not tile the kernels, budgets
 *   that would leave cells unused or use them twice, and lists of ratios that do not have one for each warehouse.
 */
export function allocate(layers: readonly LayerShape[], options: AllocationOptions = {}): Allocation {
  const resolved = withDefaults(options);
  const common: CommonOptions = {
    cellSharing: resolved.cellSharing,
    norm: oneOf('attentionNorm', resolved.attentionNorm, ['batch', 'layer']),
    attentionFunction: oneOf('attentionFunction', resolved.attentionFunction, attentionFunctions),
    odconvTemperature: odconvTemperature(options),
  };
  validateLayers(layers);
  const groups = groupLayers(layers, resolved.sharingRange, resolved.sameDimensions);
  const optionsOf = optionsOfGroups(groups, resolved);
  const warehouses = groups.map((group, index) => allocateWarehouse(group, index, optionsOf[index] as WarehouseOptions, common));

  const cellParameters = total(warehouses.map((warehouse) => warehouse.parameters));
  const attentionParameters = total(warehouses.flatMap((warehouse) => warehouse.layers.map((layer) => layer.attentionParameters)));
  return { warehouses, cellParameters, attentionParameters, parameters: cellParameters + attentionParameters };
}
