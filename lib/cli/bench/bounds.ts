/** Runs `kernel-warehouse bench --bounds`: the least times of networks on a processor that need not be here. */

import { boundsReport } from '../../bench/bounds/bounds_report.js';
import { findHardware } from '../../bench/bounds/hardware.js';
import { readMeasured } from '../../bench/bounds/measured_steps.js';
import { boundsChart } from '../../bench/chart.js';
import { boundsText } from './bounds_text.js';
import { listCases } from './cases.js';
import type { BenchFlags } from './flags.js';
import { checkedOutputs, commandLine, publish } from './run.js';

/**
 * @param processor its name, or a JSON file
 * Throws ERR_KW_INVALID_ARGUMENT, ERR_KW_DATA, ERR_KW_UNKNOWN_NETWORK, ERR_KW_CONFIG, ERR_KW_SHAPE.
 */
export async function runBounds(names: readonly string[], flags: BenchFlags, processor: string): Promise<void> {
  const { json, layers, rows, imageSize, measured, tf32 = false } = flags;
  const inputs = [...names, ...[processor, measured].filter((path) => path?.endsWith('.json') === true)] as string[];
  const outputs = checkedOutputs(flags, inputs);
  const hardware = findHardware(processor);
  const times = measured === undefined ? {} : { measured: readMeasured(measured) };
  const report = boundsReport(listCases(names, flags), { hardware, tf32, imageSize, command: commandLine(), ...times });
  const tables = (columns?: number) => boundsText(report, layers ? undefined : rows, columns);
  await publish({ report, tables, chart: () => boundsChart(report) }, json, outputs);
}
