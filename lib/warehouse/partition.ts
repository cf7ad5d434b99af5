/**
 * Kernel partition (paper, section 3.2): the size of a warehouse's cells, from common divisors, and the number of mixtures in each layer.
 */
import { KernelWarehouseError } from '../errors.js';
import { type LayerShape, weightShape } from './layer.js';
import type { SharingGroup } from './sharing.js';

export interface PartitionOptions {
  /** Input channels of a cell, divided by the greatest common divisor of the layers' input channels (per group); in (0, 1]. */
  readonly cellInRatio: number;
  /** The same for output channels. */
  readonly cellOutRatio: number;
  /** Whether kernels are cut along their spatial dimensions too; if not, all kernels of the warehouse must be of one size. */
  readonly spatialPartition: boolean;
}

export interface Partition {
  /** Shape of a cell in PyTorch's order: [outChannels, inChannels, ...kernel]. */
  readonly cell: readonly number[];
  /** Mixtures of each layer, in the group's order. */
  readonly mixtures: readonly number[];
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}

/** `part / whole` in lowest terms, such as 1/4. */
export function formatRatio(part: number, whole: number): string {
  const divisor = greatestCommonDivisor(part, whole);
  return whole === divisor ? String(part / divisor) : `${part / divisor}/${whole / divisor}`;
}

function describe(layers: readonly LayerShape[], axis: 0 | 1): string {
  const shown = layers.slice(0, 6).map((layer) => `${layer.name} ${weightShape(layer)[axis]}`);
  return shown.join(', ') + (layers.length > shown.length ? `, and ${layers.length - shown.length} more` : '');
}

/** Channels of a cell along one axis: floor(gcd * ratio), at least 1, as in the authors' code, and a divisor of the gcd. */
function cellChannels(group: SharingGroup, axis: 0 | 1, option: 'cellInRatio' | 'cellOutRatio', ratio: number): number {
  const divisor = group.layers.map((layer) => weightShape(layer)[axis] as number).reduce(greatestCommonDivisor);
  const channels = Math.max(Math.floor(divisor * ratio), 1);
  if (divisor % channels === 0) return channels;

  const legal: string[] = [];
  for (const [from, step] of [
    [channels, -1],
    [channels, 1],
  ] as const) {
    let candidate = from;
    while (candidate > 0 && candidate < divisor && divisor % candidate !== 0) candidate += step;
    if (candidate > 0 && candidate <= divisor) legal.push(`${formatRatio(candidate, divisor)} (${candidate} channels)`);
  }
  const side = axis === 0 ? 'output' : 'input';
  throw new KernelWarehouseError(
    'ERR_KW_ALLOCATION',
    `warehouse ${group.name}: ${option} ${ratio} gives cells of ${channels} ${side} channels, which do not divide ` +
      `${divisor}, the greatest common divisor of the layers' ${side} channels (${describe(group.layers, axis)}); ` +
      `nearest legal ratios: ${(legal.length > 0 ? legal : ['1']).join(', ')}`,
  );
}

/**
 * Cuts the kernels of layers that share a warehouse into cells of one shape.
 * @throws ERR_KW_ALLOCATION for kernels with different numbers of dimensions, for kernels of different sizes without spatial partition, and
 *   for a ratio whose cells do not tile the kernels; the message names the layers and the nearest legal ratios.
 */
export function partition(group: SharingGroup, options: PartitionOptions): Partition {
  const fail = (message: string): never => {
    throw new KernelWarehouseError('ERR_KW_ALLOCATION', `warehouse ${group.name}: ${message}`);
  };
  const [first] = group.layers;
  if (first === undefined) return fail('expected at least one layer');
  const kernel = weightShape(first).slice(2);
  for (const layer of group.layers) {
    const other = weightShape(layer).slice(2);
    if (other.length !== kernel.length) {
      fail(`layers of ${kernel.length} and ${other.length} spatial dimensions cannot share cells (${first.name}, ${layer.name})`);
    }
    if (!options.spatialPartition && other.some((size, axis) => size !== kernel[axis])) {
      fail(
        `without spatial partition all kernels must have one size, but ${first.name} has ${kernel.join('x')} and ` +
          `${layer.name} ${other.join('x')}; give them warehouses of their own or turn spatialPartition on`,
      );
    }
  }

  const cell = [
    cellChannels(group, 0, 'cellOutRatio', options.cellOutRatio),
    cellChannels(group, 1, 'cellInRatio', options.cellInRatio),
    ...kernel.map((size) => (options.spatialPartition ? 1 : size)),
  ];
  const mixtures = group.layers.map((layer) =>
    weightShape(layer).reduce((count, size, axis) => count * (size / (cell[axis] as number)), 1),
  );
  return { cell, mixtures };
}
