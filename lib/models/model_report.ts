/** A report about a network as data: counts, operations, memory, warehouses. No native code, no tensors. */
import { KernelWarehouseError } from '../errors.js';
import type { Plan } from '../plan/plan.js';
import type { LayerAllocation, Warehouse } from '../warehouse/index.js';
import { inferencePlan } from './instance.js';
import { imageSizeOption, Model, suitableStem } from './model.js';
import type { ModelOptions } from './model_options.js';
import { type OptimizerOptions, optimizerArenas, trainingPlan } from './training_plan.js';

export interface ReportSettings {
  readonly imageSize: number;
  readonly batchSize: number;
  readonly classes?: number;
  readonly stem?: 'small' | 'large';
  /** Whether the memory is that of a training step, with this optimizer. */
  readonly training?: true;
  readonly optimizer: 'sgd' | 'adamw';
}

/** Bytes of a plan's buffers. */
interface Memory {
  readonly mode: 'inference' | 'training';
  readonly batchSize: number;
  /** Activations, and everything else that exists only during a run. */
  readonly workspace: number;
  readonly parameters: number;
  /** Running statistics. */
  readonly state: number;
  readonly gradients: number;
  readonly optimizer: number;
  /** Images, targets, results, control block. */
  readonly inputsAndOutputs: number;
  readonly total: number;
}

/** One network; field names are those of test/golden/allocation.json for what that contains too. */
export interface ModelReport {
  readonly config: string;
  readonly network: string;
  readonly params: number;
  readonly warehouseParams: number;
  readonly attentionParams: number;
  readonly staticParams: number;
  readonly classes: number;
  readonly stem: 'small' | 'large';
  readonly imageSize: number;
  /** Of one image's inference. */
  readonly flops: number;
  readonly memory: Memory;
  readonly warehouses: readonly WarehouseReport[];
}

export type WarehouseReport = Pick<Warehouse, 'name' | 'cell' | 'm' | 'n' | 'reduction'> & {
  readonly b: number;
  readonly params: number;
  readonly layers: readonly LayerReport[];
};

type LayerReport = Pick<LayerAllocation, 'name' | 'weightShape' | 'groups' | 'mixtures' | 'startCell' | 'bias'> & {
  readonly inPlanes: number;
  readonly hidden: number;
  readonly attentionParams: number;
  /** Sizes of ODConv's attentions (KW*). */
  readonly odHeads?: { readonly channel: number; readonly filter: number; readonly spatial: number };
};

const optimizers: Readonly<Record<ReportSettings['optimizer'], OptimizerOptions>> = {
  sgd: { kind: 'sgd', momentum: 0.9, nesterov: false },
  adamw: { kind: 'adamw', beta1: 0.9, beta2: 0.999, epsilon: 1e-8 },
};

/**
 * Builds a network and describes it.
 * @param config the user's name for it
 */
export function modelReport(
  config: string,
  selected: ModelOptions,
  settings: ReportSettings,
): { readonly model: Model; readonly report: ModelReport } {
  const { imageSize, classes } = settings;
  const stem = settings.stem ?? suitableStem(selected.network, imageSize);
  const model = new Model({
    ...selected,
    stem,
    ...imageSizeOption(selected.network, imageSize),
    ...(classes === undefined ? {} : { classes }),
  });
  const { allocation, parameters } = model;
  const params = parameters.count;
  const report: ModelReport = {
    config,
    network: model.network,
    params,
    warehouseParams: allocation?.cellParameters ?? 0,
    attentionParams: allocation?.attentionParameters ?? 0,
    staticParams: params - (allocation?.parameters ?? 0),
    classes: model.options.classes,
    stem,
    imageSize,
    flops: flopsOf(model, imageSize),
    memory: memoryOf(model, settings),
    warehouses: (allocation?.warehouses ?? []).map(warehouseReport),
  };
  return { model, report };
}

/** Throws ERR_KW_SHAPE, with the least size that works, if the images are too small for the network. */
function flopsOf(model: Model, imageSize: number): number {
  try {
    return model.flops(imageSize);
  } catch (error) {
    const least = error instanceof KernelWarehouseError && error.code === 'ERR_KW_SHAPE' ? leastImageSize(model, imageSize) : undefined;
    if (least === undefined) throw error;
    const problem = `expected images of at least ${least} pixels for ${model.network}, got ${imageSize}: ${(error as Error).message}`;
    throw new KernelWarehouseError('ERR_KW_SHAPE', problem, { cause: error });
  }
}

function takesImages(model: Model, imageSize: number): boolean {
  try {
    model.flops(imageSize);
    return true;
  } catch {
    return false;
  }
}

/** The least size that works, above one that is too small; undefined if none up to 1024 does. */
function leastImageSize(model: Model, tooSmall: number): number | undefined {
  let [least, most] = [tooSmall + 1, 1024];
  if (!takesImages(model, most)) return undefined;
  while (least < most) {
    const middle = Math.floor((least + most) / 2);
    if (takesImages(model, middle)) most = middle;
    else least = middle + 1;
  }
  return least;
}

/** The shape of a kernel with at least two spatial dimensions, as the golden file writes all of them. */
function spatial(shape: readonly number[]): readonly number[] {
  return [...shape, ...new Array<number>(Math.max(0, 4 - shape.length)).fill(1)];
}

function warehouseReport({ name, cell, m, n, budget, reduction, parameters, layers }: Warehouse): WarehouseReport {
  return { name, cell: spatial(cell), m, n, b: budget, reduction, params: parameters, layers: layers.map(layerReport) };
}

function layerReport({
  name,
  weightShape,
  inChannels,
  groups,
  mixtures,
  startCell,
  attention,
  bias,
  attentionParameters,
}: LayerAllocation): LayerReport {
  const { channel, filter, spatial: positions } = attention.odconv ?? { channel: 0, filter: 0, spatial: 0 };
  return {
    name,
    weightShape: spatial(weightShape),
    inPlanes: inChannels,
    groups,
    mixtures,
    startCell,
    hidden: attention.hidden,
    bias,
    attentionParams: attentionParameters,
    ...(attention.odconv ? { odHeads: { channel, filter, spatial: positions } } : {}),
  };
}

function memoryOf(model: Model, { batchSize, imageSize, training, optimizer }: ReportSettings): Memory {
  const options = optimizers[optimizer];
  const plan: Plan = training
    ? trainingPlan(model, { batch: batchSize, imageSize, optimizer: options, labelSmoothing: 0 })
    : inferencePlan(model, batchSize, imageSize);
  const arenas = optimizerArenas(options);
  const bytes = (belongs: (name: string) => boolean) =>
    plan.buffers.filter(({ name }) => belongs(name)).reduce((sum, { bytes: size }) => sum + size, 0);
  const named = (wanted: string) => bytes((name) => name === wanted);
  const total = bytes(() => true);
  const parts = {
    workspace: named('workspace'),
    parameters: named('parameters'),
    state: named('state'),
    gradients: named('gradients'),
    optimizer: bytes((name) => arenas.includes(name)),
  };
  const inputsAndOutputs = total - Object.values(parts).reduce((sum, size) => sum + size, 0);
  return { mode: training ? 'training' : 'inference', batchSize, ...parts, inputsAndOutputs, total };
}
