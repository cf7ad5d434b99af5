/** Warehouses of a network as data: one pure function from the layers' shapes to cells, mixtures, assignments and parameter counts. */
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
import { partition } from './partition.js';
import { groupLayers, type SharingGroup, type SharingRange } from './sharing.js';

/** One value for all warehouses, or a list with one for each (or a single one), in the order in which they are numbered. */
export type PerWarehouse<T> = T | readonly T[];

export interface AllocationOptions {
  /** b = n/m, the authors' `cell_num_ratio`: a whole number, or 1/Q. Defaults to 1. */
  readonly budget?: PerWarehouse<number>;
  /** Attention's hidden width over input channels; the width is at least 16. Defaults to 1/16. */
  readonly reduction?: PerWarehouse<number>;
  /** Authors' `cell_inplane_ratio`, see `PartitionOptions`. Defaults to 1. */
  readonly cellInRatio?: PerWarehouse<number>;
  /** Authors' `cell_outplane_ratio`. Defaults to 1. */
  readonly cellOutRatio?: PerWarehouse<number>;
  /** Which layers share, see `fuseSharingName`. Defaults to none: one warehouse for each sharing name. */
  readonly sharingRange?: SharingRange;
  /** Below 1: a cheaper attention, see `NonlocalBasis`. Defaults to 1. */
  readonly nonlocalBasisRatio?: PerWarehouse<number>;
  /** Defaults to true. */
  readonly spatialPartition?: PerWarehouse<boolean>;
  /** Whether only kernels of equal shape share a warehouse (paper, table 7). Defaults to false. */
  readonly sameDimensions?: boolean;
  /**
   * Whether a mixture mixes all cells of its warehouse. If not, it sees none but the b cells of its own, b being a whole number ("without
   * sharing" in the paper's table 6); layers of a warehouse then have only the shape of their cells in common. Defaults to true.
   */
  readonly cellSharing?: boolean;
  /** Defaults to 'batch'. */
  readonly attentionNorm?: AttentionNorm;
  /** Paper, table 8. Defaults to 'contrasting'. */
  readonly attentionFunction?: AttentionFunction;
  /** Paper, tables 9 and 13. Defaults to 'oneToOne'. */
  readonly attentionInitialization?: PerWarehouse<AttentionInitialization>;
  /** KW*: ODConv's channel, filter and spatial attentions in every layer (paper, table 17). Defaults to false. */
  readonly odconvAttentions?: boolean;
  /** By which the logits of ODConv's attentions are divided; only with `odconvAttentions`. Defaults to 1. */
  readonly odconvTemperature?: number;
}

export interface LayerAllocation {
  readonly name: string;
  readonly kind: LayerKind;
  /** Index into `Allocation.warehouses`. */
  readonly warehouse: number;
  /** The assembled kernel in PyTorch's order: [outChannels, inChannels / groups, ...kernel]; linear: [out, in, 1]. */
  readonly weightShape: readonly number[];
  readonly inChannels: number;
  readonly groups: number;
  readonly bias: boolean;
  /** m of the layer. Mixture (s * Go + go) * Gi + gi is the cell at spatial position s (row-major), output go, input gi. */
  readonly mixtures: number;
  /** Cells startCell .. endCell - 1 are this layer's own: it initialises them, and β binds its mixtures to them. */
  readonly startCell: number;
  readonly endCell: number;
  /**
   * For each mixture the columns of its attention where β is 1; the number of columns stands for the zero cell. Columns are the
   * warehouse's cells, or the mixture's own without cell sharing. Empty when there is no β.
   */
  readonly assignment: readonly (readonly number[])[];
  readonly attention: AttentionShape;
  readonly attentionParameters: number;
}

export interface Warehouse {
  /** The fused sharing name, see `groupLayers`. */
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
function odconvTemperature({ odconvAttentions = false, odconvTemperature: temperature }: AllocationOptions): number | undefined {
  if (odconvAttentions && !(Number.isFinite(temperature ?? 1) && (temperature ?? 1) > 0)) {
    throw new KernelWarehouseError('ERR_KW_ALLOCATION', `odconvTemperature: expected a positive number, got ${temperature}`);
  }
  if (!odconvAttentions && temperature !== undefined) {
    throw new KernelWarehouseError('ERR_KW_ALLOCATION', 'odconvTemperature: there are no such attentions; set odconvAttentions too');
  }
  return odconvAttentions ? (temperature ?? 1) : undefined;
}

function total(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}

/**
 * Shares, partitions and assigns: layers, in the order in which modules are visited, to warehouses.
 * Pure and deterministic; the result is plain data. Agrees with the authors' Warehouse_Manager (reserve, store, allocate) on every
 * released configuration.
 * @throws ERR_KW_ALLOCATION, naming warehouse and layers, for layers that cannot share cells, ratios that do not tile the kernels,
 *   budgets that would leave cells unused or use them twice, and ratio lists that do not fit the number of warehouses.
 */
export function allocate(layers: readonly LayerShape[], options: AllocationOptions = {}): Allocation {
  const { sharingRange = [], sameDimensions = false, cellSharing = true } = options;
  const norm = oneOf('attentionNorm', options.attentionNorm ?? 'batch', ['batch', 'layer']);
  const attentionFunction = oneOf('attentionFunction', options.attentionFunction ?? 'contrasting', attentionFunctions);
  const temperature = odconvTemperature(options);
  validateLayers(layers);
  const groups = groupLayers(layers, sharingRange, sameDimensions);
  const positive = (value: number): boolean => Number.isFinite(value) && value > 0;
  const ratio = (option: keyof AllocationOptions, value: PerWarehouse<number>) =>
    resolve(option, value, groups, 'a positive number', positive);
  const share = (option: keyof AllocationOptions, value: PerWarehouse<number>) =>
    resolve(option, value, groups, 'a number above 0, at most 1', (item: number) => positive(item) && item <= 1);
  const budgets = ratio('budget', options.budget ?? 1);
  const reductions = ratio('reduction', options.reduction ?? 1 / 16);
  const cellInRatios = share('cellInRatio', options.cellInRatio ?? 1);
  const cellOutRatios = share('cellOutRatio', options.cellOutRatio ?? 1);
  const nonlocalBasisRatios = ratio('nonlocalBasisRatio', options.nonlocalBasisRatio ?? 1);
  const spatialPartitions = resolve(
    'spatialPartition',
    options.spatialPartition ?? true,
    groups,
    'a boolean',
    (item) => typeof item === 'boolean',
  );
  const initializations = resolve(
    'attentionInitialization',
    options.attentionInitialization ?? 'oneToOne',
    groups,
    attentionInitializations.join(', '),
    (item) => attentionInitializations.includes(item),
  );

  const warehouses = groups.map((group, index): Warehouse => {
    const budget = budgets[index] as number;
    const reduction = reductions[index] as number;
    const { cell, mixtures } = partition(group, {
      cellInRatio: cellInRatios[index] as number,
      cellOutRatio: cellOutRatios[index] as number,
      spatialPartition: spatialPartitions[index] as boolean,
    });
    const initialization = initializations[index] as AttentionInitialization;
    validateBudget(group.name, mixtures, budget);
    validateInitialization(group.name, mixtures, budget, initialization);
    if (!cellSharing && budget < 1) {
      throw new KernelWarehouseError(
        'ERR_KW_ALLOCATION',
        `warehouse ${group.name}: without cell sharing every mixture needs a cell of its own, but the budget is ${budget}; ` +
          'give a budget of 1 or more',
      );
    }
    const m = total(mixtures);
    const n = cellCount(m, budget);

    let startCell = 0;
    const members = group.layers.map((layer, position): LayerAllocation => {
      const count = mixtures[position] as number;
      const start = startCell;
      startCell += cellsOfLayer(count, budget);
      const nonlocalBasisRatio = nonlocalBasisRatios[index] as number;
      const attention = attentionShape(layer, count, cellSharing ? n : budget, {
        norm,
        function: attentionFunction,
        reduction,
        budget,
        nonlocalBasisRatio,
        startCell: start,
        odconvTemperature: temperature,
      });
      return {
        name: layer.name,
        kind: layer.kind,
        warehouse: index,
        weightShape: weightShape(layer),
        inChannels: layer.inChannels,
        groups: layer.groups ?? 1,
        bias: layer.bias ?? false,
        mixtures: count,
        startCell: start,
        endCell: startCell,
        assignment: cellSharing
          ? assignCells(count, n, budget, start, initialization)
          : Array.from({ length: count }, () => assignCells(1, budget, budget, 0, initialization)).flat(),
        attention,
        attentionParameters: attentionParameterCount(attention),
      };
    });
    return {
      name: group.name,
      cell,
      m,
      n,
      budget,
      reduction,
      layers: members,
      parameters: cell.reduce((product, size) => product * size, n),
    };
  });

  const cellParameters = total(warehouses.map((warehouse) => warehouse.parameters));
  const attentionParameters = total(warehouses.flatMap((warehouse) => warehouse.layers.map((layer) => layer.attentionParameters)));
  return { warehouses, cellParameters, attentionParameters, parameters: cellParameters + attentionParameters };
}
