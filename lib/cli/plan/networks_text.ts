/** What `kernel-warehouse plan` prints about networks. */
import { officialConfigNames } from '../../configurations/configuration.js';
import { type ModelReport, modelReport, type WarehouseReport } from '../../models/model_report.js';
import { networkNames } from '../../models/registry.js';
import { formatBytes, formatCount, formatFields, formatGigaflops } from '../figures.js';
import { selectNoting } from '../network_choice.js';
import { ruledTable } from '../table.js';
import type { PlanFlags } from './flags.js';

/** Prints the named networks in detail, or a line for each known one when none is named. */
export function printPlans(names: readonly string[], flags: PlanFlags): void {
  const reports = (names.length > 0 ? names : knownNames()).map((name) => modelReport(name, selectNoting(name).model, flags).report);
  if (flags.json) console.log(JSON.stringify(reports, null, 2));
  else if (names.length === 0) console.log(overview(reports));
  else console.log(reports.map(details).join('\n\n'));
}

/** The networks, and the official configurations of networks that this version has. */
function knownNames(): string[] {
  const networks = networkNames();
  return [...new Set([...networks, ...officialConfigNames()])];
}

function overview(reports: readonly ModelReport[]): string {
  const [first] = reports as [ModelReport, ...ModelReport[]];
  const rows = reports.map(({ config, network, params, flops, warehouses, memory }) => [
    ...[config, network, formatCount(params), formatGigaflops(flops), warehouses.length, formatBytes(memory.total)],
  ]);
  const table = ruledTable(['name', 'network', 'parameters', 'GFLOPs', 'warehouses', 'memory'], rows, [2, 3, 4, 5]);
  const { mode, batchSize } = first.memory;
  return `${table}\nAt ${first.imageSize} pixels; memory of ${mode} with batches of ${batchSize}.`;
}

function details(report: ModelReport): string {
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
    operations: `${formatGigaflops(flops)} GFLOPs for an image of ${imageSize} pixels`,
    memory: `${formatBytes(total)} for ${mode} with batches of ${batchSize}: ${shown.join(', ')}`,
  });
  return report.warehouses.length === 0 ? fields : `${fields}\n${warehouseTable(report.warehouses)}`;
}

function warehouseTable(warehouses: readonly WarehouseReport[]): string {
  const rows = warehouses.flatMap(({ name, cell, m, n, b, params, layers }) => [
    [name, cell.join(' x '), m, n, Number(b.toFixed(4)), '', '', formatCount(params)],
    ...layers.map((layer) => {
      const { mixtures, startCell, hidden, attentionParams } = layer;
      return [`  ${layer.name}`, `  ${layer.weightShape.join(' x ')}`, mixtures, '', '', startCell, hidden, formatCount(attentionParams)];
    }),
  ]);
  return ruledTable(['warehouse, layer', 'cell, weight', 'm', 'n', 'budget', 'start', 'hidden', 'parameters'], rows, [2, 3, 4, 5, 6, 7]);
}
