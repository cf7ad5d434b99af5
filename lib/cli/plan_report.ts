/** What `kernel-warehouse plan` prints. Pure TypeScript: no native code, no tensors. */
import Table from 'cli-table3';
import { officialConfigNames } from '../configurations/configuration.js';
import { KernelWarehouseError } from '../errors.js';
import { inferencePlan } from '../models/instance.js';
import { imageSizeOption, Model, suitableStem } from '../models/model.js';
import { networkNames } from '../models/registry.js';
import { type OptimizerOptions, optimizerArenas, trainingPlan } from '../models/training_plan.js';
import type { Plan } from '../plan/plan.js';
import type { LayerAllocation, Warehouse } from '../warehouse/index.js';
import { formatBytes, formatCount, formatFields } from './figures.js';
import { selectNoting } from './network_choice.js';

export interface PlanFlags {
  readonly imageSize: number;
  readonly batchSize: number;
  readonly classes?: number;
  readonly stem?: 'small' | 'large';
  readonly training?: true;
  readonly optimizer: 'sgd' | 'adamw';
  readonly json?: true;
  readonly all?: true;
}

/** Bytes of a plan's buffers. */
interface Memory {
  readonly mode: 'inference' | 'training';
  readonly batchSize: number;
  /** Activations and everything else that lives only during a run. */
  readonly workspace: number;
  readonly parameters: number;
  /** Running statistics. */
  readonly state: number;
  readonly gradients: number;
  readonly optimizer: number;
  /** Images, targets, results, run-time scalars. */
  readonly inputsAndOutputs: number;
  readonly total: number;
}

/** One network; field names are those of test/golden/allocation.json where it has the same thing. */
export interface Report {
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

type WarehouseReport = Pick<Warehouse, 'name' | 'cell' | 'm' | 'n' | 'reduction'> & {
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

const optimizers: Readonly<Record<PlanFlags['optimizer'], OptimizerOptions>> = {
  sgd: { kind: 'sgd', momentum: 0.9, nesterov: false },
  adamw: { kind: 'adamw', beta1: 0.9, beta2: 0.999, epsilon: 1e-8 },
};

/** Prints the named networks in detail, or a line for each known one when none is named. */
export function printPlans(names: readonly string[], flags: PlanFlags): void {
  const reports = (names.length > 0 ? names : knownNames()).map((name) => reportOf(name, flags).report);
  if (flags.json) console.log(JSON.stringify(reports, null, 2));
  else if (names.length === 0) console.log(overview(reports));
  else console.log(reports.map(details).join('\n\n'));
}

/** The networks, and the official configurations of networks that this version has. */
function knownNames(): string[] {
  const networks = networkNames();
  return [...new Set([...networks, ...officialConfigNames()])];
}

/** Builds the network that `name` means and describes it. */
export function reportOf(name: string, flags: PlanFlags): { readonly model: Model; readonly report: Report } {
  const { imageSize } = flags;
  const selected = selectNoting(name).model;
  const stem = flags.stem ?? suitableStem(selected.network, imageSize);
  const model = new Model({
    ...selected,
    stem,
    ...imageSizeOption(selected.network, imageSize),
    ...(flags.classes === undefined ? {} : { classes: flags.classes }),
  });
  const { allocation, parameters } = model;
  const params = parameters.count;
  const report: Report = {
    config: name,
    network: model.network,
    params,
    warehouseParams: allocation?.cellParameters ?? 0,
    attentionParams: allocation?.attentionParameters ?? 0,
    staticParams: params - (allocation?.parameters ?? 0),
    classes: model.options.classes,
    stem,
    imageSize,
    flops: flopsOf(model, imageSize),
    memory: memoryOf(model, flags),
    warehouses: (allocation?.warehouses ?? []).map(warehouseReport),
  };
  return { model, report };
}

/** Throws ERR_KW_SHAPE, with the least size that will do, when the images are too small for the network. */
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

/** The least size above one that is too small; undefined when none up to 1024 will do. */
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

/** A kernel's shape with two spatial dimensions at least, as the golden file writes all of them. */
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

function memoryOf(model: Model, { batchSize, imageSize, training, optimizer }: PlanFlags): Memory {
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

/**
 * @param numbers columns whose cells stand on the right
 * @param widths columns whose text is wrapped
 */
export function newTable(
  head: readonly string[],
  numbers: readonly number[],
  widths: Readonly<Record<number, number>> = {},
): InstanceType<typeof Table> {
  // No colours: they would stay in a file.
  const style = { head: [], border: [], compact: true };
  return new Table({
    head: [...head],
    style,
    colAligns: head.map((_, column) => (numbers.includes(column) ? 'right' : 'left')),
    colWidths: head.map((_, column) => widths[column] ?? null),
    wordWrap: true,
  });
}

export function gigaflops(flops: number): string {
  return (flops / 1e9).toFixed(3);
}

function overview(reports: readonly Report[]): string {
  const [first] = reports as [Report, ...Report[]];
  const table = newTable(['name', 'network', 'parameters', 'GFLOPs', 'warehouses', 'memory'], [2, 3, 4, 5]);
  for (const { config, network, params, flops, warehouses, memory } of reports) {
    table.push([config, network, formatCount(params), gigaflops(flops), warehouses.length, formatBytes(memory.total)]);
  }
  const { mode, batchSize } = first.memory;
  return `${table.toString()}\nAt ${first.imageSize} pixels; memory of ${mode} with batches of ${batchSize}.`;
}

function details(report: Report): string {
  const { config, network, params, warehouseParams, attentionParams, staticParams, classes, stem, imageSize, flops, memory } = report;
  const { mode, batchSize, total, ...parts } = memory;
  const sizes = [
    ['workspace', parts.workspace],
    ['parameters', parts.parameters],
    ['state', parts.state],
    ['gradients', parts.gradients],
    ['optimizer', parts.optimizer],
    ['inputs and outputs', parts.inputsAndOutputs],
  ] as const;
  const shown = sizes.filter(([, bytes]) => bytes > 0).map(([name, bytes]) => `${name} ${formatBytes(bytes)}`);
  const counts = [
    `cells ${formatCount(warehouseParams)}`,
    `attentions ${formatCount(attentionParams)}`,
    `static ${formatCount(staticParams)}`,
  ];
  const fields = formatFields({
    network: `${config === network ? network : `${config} (${network})`}, ${classes} classes, ${stem} stem`,
    parameters: `${formatCount(params)}${warehouseParams > 0 ? `: ${counts.join(', ')}` : ''}`,
    operations: `${gigaflops(flops)} GFLOPs for an image of ${imageSize} pixels`,
    memory: `${formatBytes(total)} for ${mode} with batches of ${batchSize}: ${shown.join(', ')}`,
  });
  return report.warehouses.length === 0 ? fields : `${fields}\n${warehouseTable(report.warehouses)}`;
}

function warehouseTable(warehouses: readonly WarehouseReport[]): string {
  const table = newTable(['warehouse, layer', 'cell, weight', 'm', 'n', 'budget', 'start', 'hidden', 'parameters'], [2, 3, 4, 5, 6, 7]);
  for (const { name, cell, m, n, b, params, layers } of warehouses) {
    table.push([name, cell.join(' x '), m, n, Number(b.toFixed(4)), '', '', formatCount(params)]);
    for (const layer of layers) {
      const { mixtures, startCell, hidden, attentionParams } = layer;
      table.push([
        `  ${layer.name}`,
        `  ${layer.weightShape.join(' x ')}`,
        mixtures,
        '',
        '',
        startCell,
        hidden,
        formatCount(attentionParams),
      ]);
    }
  }
  return table.toString();
}
