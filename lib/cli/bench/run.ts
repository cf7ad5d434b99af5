/** Runs `kernel-warehouse bench`: networks in interleaved rounds, beside the machine's own rates. */
import { accessSync, constants, existsSync, statSync } from 'node:fs';
import { release } from 'node:os';
import { dirname } from 'node:path';
import { chart } from '../../bench/chart.js';
import { type Contestant, copyContestant, gemmContestant, networkContestant } from '../../bench/contestant.js';
import { type MemoryFigures, measureMemory } from '../../bench/memory.js';
import { benchReport, type CaseOutcome, type MachineFacts, type Measured } from '../../bench/report.js';
import { runRounds, type Timing } from '../../bench/rounds.js';
import { writeFileAtomically } from '../../checkpoint/atomic_file.js';
import { officialConfigNames } from '../../configurations/configuration.js';
import { KernelWarehouseError } from '../../errors.js';
import type { Precision } from '../../graph/passes/precision.js';
import { networkNames } from '../../models/registry.js';
import type { PaperTable } from '../../paper/printed_tables.js';
import { besidePaper } from '../../paper/speed.js';
import { availableCores, type Device } from '../../runtime/device.js';
import { describeProcessor, loadedOneDnn, packageVersion } from '../../runtime/machine.js';
import { quoted } from '../arguments.js';
import { RUNTIME_FAILURE } from '../failure.js';
import { Interruption } from '../interruption.js';
import { deviceOptions, openDevice } from '../open_device.js';
import { checkedOutput } from '../output_path.js';
import { Progress } from '../progress.js';
import { type BenchCase, excessiveCases, listCases, outOfMemory } from './cases.js';
import type { BenchFlags } from './flags.js';
import { speedText } from './speed_text.js';

/** @param table of the paper, whose speeds stand beside ours */
export async function runBench(names: readonly string[], flags: BenchFlags, table?: PaperTable): Promise<void> {
  const outputs = checkedOutputs(flags, names);
  const cases = listCases(names, flags);
  using device = openDevice(flags);
  using interruption = new Interruption((signal) => {
    process.stderr.write(`\n${signal}: stopping after this run, with the rounds that are complete (again to end at once)\n`);
  });
  const measured = await measure(cases, flags, device, interruption.signal);
  if (measured.partial) process.exitCode = interruption.exitStatus;
  if (measured.rounds === 0) {
    process.stderr.write('kernel-warehouse: stopped before the first counted round was complete: there are no figures\n');
    return;
  }
  const plain = benchReport(measured);
  const report = table ? besidePaper(plain, table) : plain;
  const { json, layers, rows } = flags;
  const tables = (columns?: number) => speedText(report, layers ? rows : 0, columns);
  await publish({ report, tables, chart: () => chart(report) }, json, outputs);
  if (report.results.length === 0) process.exitCode = RUNTIME_FAILURE;
}

export interface Outputs {
  readonly json?: string;
  readonly chart?: string;
}

/** Where the figures will be written; checked before they are measured. */
export function checkedOutputs({ json, chart: drawing }: Pick<BenchFlags, 'json' | 'chart'>, names: readonly string[]): Outputs {
  if (typeof json === 'string' && [...networkNames(), ...officialConfigNames()].includes(json)) {
    invalid(`--json took the network ${json} for a file; put --json last, or write --json=./${json}`);
  }
  const outputs: Outputs = {
    ...(typeof json === 'string' ? { json: writableFile(json, names) } : {}),
    ...(drawing === undefined ? {} : { chart: writableFile(drawing, names) }),
  };
  if (outputs.json !== undefined && outputs.json === outputs.chart) invalid(`--json and --chart cannot both write to ${outputs.json}`);
  return outputs;
}

function writableFile(path: string, inputs: readonly string[]): string {
  const target = checkedOutput(path, inputs);
  if (existsSync(target) && !statSync(target).isFile()) invalid(`${path}: expected a file to write, but it is something else`);
  try {
    accessSync(dirname(target), constants.W_OK);
  } catch {
    invalid(`${path}: the folder ${dirname(target)} cannot be written to`);
  }
  return target;
}

function invalid(problem: string): never {
  throw new KernelWarehouseError('ERR_KW_INVALID_ARGUMENT', problem);
}

async function measure(cases: readonly BenchCase[], flags: BenchFlags, device: Device, signal: AbortSignal): Promise<Measured> {
  // A GPU itself refuses what does not fit its memory, and host memory says nothing about that.
  const isHost = device.name === 'cpu';
  const problems = isHost ? excessiveCases(cases, process.availableMemory()) : new Map<BenchCase, string>();
  const memory = new Map<BenchCase, MemoryFigures>();
  if (flags.memory && isHost) await measureAll(cases, flags, device, problems, memory, signal);

  const gemm = new Map<Precision, Contestant>();
  const timed = new Map<BenchCase, Contestant>();
  const disposable: Contestant[] = [];
  const own = (contestant: Contestant): Contestant => {
    disposable.push(contestant);
    return contestant;
  };
  try {
    for (const precision of new Set<Precision>(['float32', ...flags.precision])) {
      if (!signal.aborted) gemm.set(precision, own(await gemmContestant(device, precision)));
    }
    const copy = flags.layers && !signal.aborted ? own(await copyContestant(device)) : undefined;
    {
      using progress = new Progress({ label: 'preparing', total: cases.length, unit: 'networks', transient: true });
      for (const [index, one] of cases.entries()) {
        progress.update(index, { network: caseName(one) });
        await breath();
        if (signal.aborted) break;
        if (problems.has(one)) continue;
        await noting(one, problems, async () => timed.set(one, own(await networkContestant(device, one.network))));
      }
    }
    const timings = signal.aborted ? [] : await timeAll(disposable, flags, signal);
    const timingOf = (contestant: Contestant | undefined): Timing | undefined => timings.find((timing) => timing.contestant === contestant);
    const copyTiming = timingOf(copy);
    return {
      facts: await machineFacts(device, !isHost && flags.tf32 === true),
      partial: signal.aborted,
      imageSize: flags.imageSize,
      rounds: timings[0]?.seconds.length ?? 0,
      secondsPerRound: flags.seconds,
      gemm: new Map(
        [...gemm].flatMap(([precision, contestant]) => {
          const timing = timingOf(contestant);
          return timing ? [[precision, timing] as const] : [];
        }),
      ),
      ...(copyTiming ? { copy: copyTiming } : {}),
      cases: outcomes(cases, (one) => timingOf(timed.get(one)), memory, problems),
    };
  } finally {
    for (const contestant of disposable) contestant[Symbol.dispose]();
  }
}

/** The memory of each case, one process after the other; cases that do not fit or fail become problems. */
async function measureAll(
  cases: readonly BenchCase[],
  flags: BenchFlags,
  { name, threads }: Device,
  problems: Map<BenchCase, string>,
  memory: Map<BenchCase, MemoryFigures>,
  signal: AbortSignal,
): Promise<void> {
  using progress = new Progress({ label: 'measuring memory', total: cases.length, unit: 'networks', transient: true });
  for (const [index, one] of cases.entries()) {
    progress.update(index, { network: caseName(one) });
    if (signal.aborted) return;
    if (problems.has(one)) continue;
    await noting(one, problems, async () => {
      try {
        memory.set(one, await measureMemory({ network: one.network, device: name, options: deviceOptions({ ...flags, threads }) }, signal));
      } catch (error) {
        if (!signal.aborted) throw error;
      }
    });
  }
}

/** Does the work; if it runs out of memory, that is a problem of this case alone. */
async function noting(one: BenchCase, problems: Map<BenchCase, string>, work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch (error) {
    problems.set(one, outOfMemory(error, one.network));
  }
}

async function timeAll(
  contestants: readonly Contestant[],
  { rounds, seconds, layers }: BenchFlags,
  signal: AbortSignal,
): Promise<Timing[]> {
  using progress = new Progress({ label: 'timing', total: (rounds + 1) * contestants.length, unit: 'turns', transient: true });
  let turn = 0;
  // Awaited here, so that the bar lives as long as the rounds.
  return await runRounds(contestants, {
    rounds,
    secondsPerRound: seconds,
    steps: layers ?? false,
    signal,
    onTurn: ({ name, images }, round) => {
      const network = images > 0 ? `${name} x ${images}` : name;
      progress.update(turn++, { round: round === 0 ? 'warm-up' : `${round}/${rounds}`, now: network });
    },
  });
}

/** Gives signals and the progress bar a chance between preparations, which block the JavaScript thread. */
function breath(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function caseName({ network: { name, mode, batch } }: BenchCase): string {
  return `${name} ${mode} ${batch}`;
}

function outcomes(
  cases: readonly BenchCase[],
  timingOf: (one: BenchCase) => Timing | undefined,
  memory: ReadonlyMap<BenchCase, MemoryFigures>,
  problems: ReadonlyMap<BenchCase, string>,
): CaseOutcome[] {
  const made = new Map<BenchCase, CaseOutcome>();
  for (const one of cases) {
    const timing = timingOf(one);
    const figures = memory.get(one);
    const problem = problems.get(one);
    const against = one.against && made.get(one.against);
    made.set(one, {
      network: one.network,
      ...(timing ? { timing } : {}),
      ...(figures ? { memory: figures } : {}),
      ...(problem === undefined ? {} : { problem }),
      ...(against ? { against } : {}),
    });
  }
  return [...made.values()];
}

export async function machineFacts(device: Device, tf32: boolean): Promise<MachineFacts> {
  const { model, count, instructions, memory } = describeProcessor();
  return {
    machine: {
      processor: model,
      processors: count,
      instructions,
      memoryBytes: memory,
      system: `${process.platform} ${process.arch} ${release()}`,
      device: device.name,
      deviceDescription: device.description,
      tf32,
      threads: device.threads,
      physicalCores: availableCores(),
    },
    versions: { kernelWarehouse: packageVersion(), node: process.version, oneDnn: loadedOneDnn() },
    command: commandLine(),
    date: new Date().toISOString(),
  };
}

/** The command as typed, for the report. */
export function commandLine(): string {
  return ['kernel-warehouse', ...process.argv.slice(2).map(quoted)].join(' ');
}

/** How a report is shown. */
interface Presentation {
  readonly report: object;
  /** @param columns of the terminal, where there is one */
  readonly tables: (columns: number | undefined) => string;
  /** Absent if nothing can be drawn. */
  readonly chart?: () => string;
}

/** Tables come first: a full disk must not cost the figures. */
export async function publish({ report, tables, chart: drawing }: Presentation, json: BenchFlags['json'], outputs: Outputs): Promise<void> {
  const text = `${JSON.stringify(report, undefined, 2)}\n`;
  const width = process.stdout.isTTY ? process.stdout.columns : undefined;
  process.stdout.write(json === true ? text : `${tables(width)}\n`);
  const write = (path: string, contents: string) => writeFileAtomically(path, async (file) => file.writeFile(contents));
  if (outputs.json !== undefined) await write(outputs.json, text);
  if (outputs.chart !== undefined && drawing) await write(outputs.chart, drawing());
}
