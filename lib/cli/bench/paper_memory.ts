/** `kernel-warehouse bench --table 16`: the memory of training and inference, one network after the other, beside the paper's figures. */
import { leastBytes, type Mode, type NetworkCase } from '../../bench/contestant.js';
import { measureMemory } from '../../bench/memory.js';
import { type ComparedAmount, type MemoryLine, type MemoryOutcome, type MemoryReport, memoryLines } from '../../paper/memory_report.js';
import type { PaperTable } from '../../paper/printed_tables.js';
import type { Device } from '../../runtime/device.js';
import { formatBytes } from '../figures.js';
import { Interruption } from '../interruption.js';
import { deviceOptions, openDevice } from '../open_device.js';
import { Progress } from '../progress.js';
import { table as drawn, wrapped } from '../table.js';
import { fittingModel, outOfMemory } from './cases.js';
import type { TableFlags } from './flags.js';
import { checkedOutputs, machineFacts, publish } from './run.js';
import { deviceWords, settings, tableWords } from './speed_text.js';

/** The paper's batch sizes, by static network. */
const paperBatchSizes: Readonly<Record<Mode, (baseline: string) => number>> = {
  training: (baseline) => (baseline === 'resnet50' ? 128 : 32),
  inference: () => 100,
};

/** Every row in every mode, precision and batch size; training first, as in the paper. */
function casesOf(table: PaperTable, flags: TableFlags, isGiven: (option: keyof TableFlags) => boolean): NetworkCase[] {
  const { training, inference, precision: precisions, batchSize, imageSize } = flags;
  const modes: readonly Mode[] = training === inference ? ['training', 'inference'] : training ? ['training'] : ['inference'];
  return modes.flatMap((mode) =>
    precisions.flatMap((precision) =>
      table.lines.flatMap(({ configs, baseline }) =>
        (isGiven('batchSize') ? batchSize : [paperBatchSizes[mode](baseline)]).flatMap((batch) =>
          configs.map((name): NetworkCase => ({ name, model: fittingModel(name, imageSize), mode, precision, batch, imageSize })),
        ),
      ),
    ),
  );
}

/** Predicts, and measures where there is room, until the signal. */
async function outcomesOf(cases: readonly NetworkCase[], flags: TableFlags, device: Device, signal: AbortSignal): Promise<MemoryOutcome[]> {
  const outcomes: MemoryOutcome[] = [];
  using progress = new Progress({ label: 'measuring memory', total: cases.length, unit: 'networks', transient: true });
  for (const [index, network] of cases.entries()) {
    progress.update(index, { network: `${network.name} ${network.mode} ${network.batch}` });
    // Gives signals and the progress bar a chance between plans, which block the JavaScript thread.
    await new Promise((resolve) => setImmediate(resolve));
    if (signal.aborted) break;
    outcomes.push(await outcomeOf(network, flags, device, signal));
  }
  return outcomes;
}

async function outcomeOf(network: NetworkCase, flags: TableFlags, device: Device, signal: AbortSignal): Promise<MemoryOutcome> {
  const predicted = leastBytes(network);
  if (!flags.memory) return { network, predicted };
  const available = process.availableMemory();
  if (device.name === 'cpu' && predicted > available) {
    return { network, predicted, problem: `needs ${formatBytes(predicted)}, more than the free ${formatBytes(available)}` };
  }
  const question = { network, device: device.name, options: deviceOptions({ ...flags, threads: device.threads }) };
  try {
    const { measured } = await measureMemory(question, signal);
    return { network, predicted, measured };
  } catch (error) {
    if (signal.aborted) return { network, predicted };
    return { network, predicted, problem: outOfMemory(error, network) };
  }
}

/** In the paper's unit. */
function megabytes(bytes: ComparedAmount | undefined): string {
  return bytes === undefined ? '-' : (bytes.amount / 2 ** 20).toLocaleString('en-US', { maximumFractionDigits: 0 });
}

function ratio(amount: ComparedAmount | undefined): string {
  return amount?.ratioToStatic?.toFixed(2) ?? '-';
}

function memoryTables(
  { table, machine, versions, partial, imageSizePixels, lines }: MemoryReport,
  columns = Number.POSITIVE_INFINITY,
): string {
  const text = [
    ...tableWords(table),
    `${deviceWords(machine)}; Node ${versions.node}; ${imageSizePixels} pixels${partial ? '; stopped before the end' : ''}`,
  ].flatMap((paragraph) => wrapped(paragraph, columns));
  const head = ['network', "paper's\nMB", 'of\nstatic', 'predicted\nMB', 'of\nstatic', 'measured\nMB', 'of\nstatic'];
  for (const [heading, group] of settings(lines)) {
    const rows = group.map(({ network, paperMegabytes, predictedBytes, measuredBytes }: MemoryLine) => [
      ...[network, paperMegabytes.amount.toLocaleString('en-US'), ratio(paperMegabytes)],
      ...[megabytes(predictedBytes), ratio(predictedBytes), megabytes(measuredBytes), ratio(measuredBytes)],
    ]);
    text.push('', heading, drawn(head, rows, columns));
    for (const { network, problem } of group) if (problem !== undefined) text.push(...wrapped(`${network}: ${problem}`, columns));
  }
  return text.join('\n');
}

/** Whatever `isGiven` does not name has the paper's value. */
export async function runMemoryTable(table: PaperTable, flags: TableFlags, isGiven: (option: keyof TableFlags) => boolean): Promise<void> {
  const { json, imageSize } = flags;
  const outputs = checkedOutputs(flags, []);
  const cases = casesOf(table, flags, isGiven);
  using device = openDevice(flags);
  using interruption = new Interruption((signal) => {
    process.stderr.write(`\n${signal}: stopping with the rows that are complete (again to end at once)\n`);
  });
  const outcomes = await outcomesOf(cases, flags, device, interruption.signal);
  const partial = interruption.signal.aborted;
  if (partial) process.exitCode = interruption.exitStatus;
  const { number, title, note } = table;
  const report: MemoryReport = {
    ...(await machineFacts(device, device.name !== 'cpu' && flags.tf32 === true)),
    table: { number, title, ...(note === undefined ? {} : { note }) },
    partial,
    imageSizePixels: imageSize,
    lines: memoryLines(table, outcomes),
  };
  await publish({ report, tables: (columns) => memoryTables(report, columns) }, json, outputs);
}
