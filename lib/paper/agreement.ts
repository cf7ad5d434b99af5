/** Compares what is computed here with what the paper prints. */
import { type Allocation, allocate, type LayerShape, type Warehouse } from '../warehouse/index.js';
import { type Table15Row, table14, table15 } from './printed_counts.js';

/** How a count becomes the printed one: rounded half up as usual, rounded up, or not at all. */
export type CountAgreement = 'rounded' | 'rounded up' | 'no';

/** Whether a count is printed as this many millions with two decimals. */
export function countAgreement(count: number, millions: number): CountAgreement {
  const printed = Math.round(100 * millions);
  if (Math.round(count / 10_000) === printed) return 'rounded';
  return Math.ceil(count / 10_000) === printed ? 'rounded up' : 'no';
}

function changed(name: 'm' | 'n', printed: number, actual: number): string[] {
  return printed === actual ? [] : [`${name} ${printed}->${actual}`];
}

/** Differences from Table 14, empty if it agrees; undefined for a configuration that is not in it. */
export function table14Differences(config: string, warehouses: readonly Pick<Warehouse, 'name' | 'm' | 'n'>[]): string | undefined {
  const row = table14.find(({ configs }) => configs.includes(config));
  if (!row) return undefined;
  if (row.m.length !== warehouses.length) {
    const here = warehouses.map(({ m }) => m).join(', ');
    return `${warehouses.length} warehouses here, ${row.m.length} in the table; here m=[${here}]`;
  }
  const differences = warehouses.flatMap(({ name, m, n }, index) => {
    const changes = [...changed('m', row.m[index] as number, m), ...changed('n', row.n[index] as number, n)];
    return changes.length > 0 ? [`#${index + 1} (${name}) ${changes.join(', ')}`] : [];
  });
  return differences.length > 0 ? `${differences.join('; ')} (table -> here)` : '';
}

/** The original stage of a ResNet's convolution: `layer2.0.conv1` belongs to stage 2. */
function originalStage(layer: string): number {
  return Number(/^layer(\d+)\./.exec(layer)?.[1]);
}

/** The rows of Table 15 for this allocation. */
function stageRows({ warehouses }: Allocation): Table15Row[] {
  const spatial = warehouses.flatMap((warehouse, index) =>
    warehouse.layers.filter(({ weightShape }) => weightShape[2] === 3).map((layer) => ({ layer, warehouse, stage: index + 1 })),
  );
  const shapes = spatial.map(
    ({ layer: { name, kind, inChannels, weightShape } }): LayerShape => ({
      name,
      kind,
      inChannels,
      outChannels: weightShape[0] as number,
      kernel: weightShape.slice(2),
      sharingName: `stage${originalStage(name)}`,
    }),
  );
  const original = new Map(allocate(shapes).warehouses.flatMap(({ cell, layers }) => layers.map(({ name }) => [name, cell] as const)));
  const channelsOf = (cell: readonly number[]) => [cell[0] as number, cell[1] as number] as const;
  return spatial.map(({ layer, warehouse, stage }) => ({
    outChannels: layer.weightShape[0] as number,
    inChannels: layer.inChannels,
    originalStage: originalStage(layer.name),
    originalCell: channelsOf(original.get(layer.name) as readonly number[]),
    reassignedStage: stage,
    reassignedCell: channelsOf(warehouse.cell),
  }));
}

function describe(row: Table15Row | undefined): string {
  if (!row) return 'none';
  const cell = ([out, input]: readonly [number, number]) => `${out}x${input}`;
  return (
    `${cell([row.outChannels, row.inChannels])} of stage ${row.originalStage} (cells ${cell(row.originalCell)}) ` +
    `in ${row.reassignedStage} (cells ${cell(row.reassignedCell)})`
  );
}

/** Differences from Table 15, empty if it agrees; undefined for a configuration that is not in it. */
export function table15Differences(config: string, allocation: Allocation): string | undefined {
  if (config !== table15.config) return undefined;
  const rows = stageRows(allocation);
  const count = Math.max(rows.length, table15.rows.length);
  const differences = Array.from({ length: count }, (_, index) => {
    const [printed, actual] = [describe(table15.rows[index]), describe(rows[index])];
    return printed === actual ? [] : [`#${index + 1} ${printed} -> ${actual}`];
  }).flat();
  return differences.length > 0 ? `${differences.join('; ')} (table -> here)` : '';
}
