/** What `kernel-warehouse bench` does: networks in interleaved rounds beside the machine's own matrix product. */
import { writeFile } from 'node:fs/promises';
import Table from 'cli-table3';
import { type Contestant, gemmContestant, networkContestant } from '../bench/contestant.js';
import { type BenchReport, benchReport, type Figures } from '../bench/report.js';
import { runRounds, type Timing } from '../bench/rounds.js';
import { imageSizeOption } from '../models/model.js';
import { Device } from '../runtime/device.js';
import type { DeviceFlags } from './arguments.js';
import { selectNoting } from './network_choice.js';

export interface BenchFlags extends DeviceFlags {
  readonly batchSize: number;
  readonly imageSize: number;
  readonly training: boolean;
  readonly rounds: number;
  readonly seconds: number;
  readonly layers: boolean;
  readonly json?: string | true;
}

export async function runBench(names: readonly string[], flags: BenchFlags): Promise<void> {
  using device = Device.open(flags.device, flags.threads === undefined ? {} : { threads: flags.threads });
  const contestants: Contestant[] = [];
  try {
    const gemm = await gemmContestant(device);
    contestants.push(gemm);
    for (const name of names) {
      const { batchSize: batch, imageSize, training } = flags;
      const { model } = selectNoting(name);
      const options = { ...model, ...imageSizeOption(model.network, imageSize) };
      contestants.push(await networkContestant(device, { name, model: options, batch, imageSize, training }));
    }
    const onRun = (contestant: Contestant, round: number) => {
      if (process.stderr.isTTY) process.stderr.write(`\r\x1b[Kround ${round} of ${flags.rounds}: ${contestant.name}`);
    };
    const [gemmTiming, ...timings] = (await runRounds(contestants, { rounds: flags.rounds, secondsPerRound: flags.seconds, onRun })) as [
      Timing,
      ...Timing[],
    ];
    if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
    const command = ['kernel-warehouse', ...process.argv.slice(2)].join(' ');
    await show(benchReport(device, command, gemmTiming, timings), flags);
  } finally {
    for (const contestant of contestants) contestant[Symbol.dispose]();
  }
}

async function show(report: BenchReport, { json, layers, training }: BenchFlags): Promise<void> {
  if (json === true) {
    process.stdout.write(`${JSON.stringify(report, undefined, 2)}\n`);
    return;
  }
  if (json) await writeFile(json, `${JSON.stringify(report, undefined, 2)}\n`);
  const { machine, gemmGigaflopPerSecond, results, rounds } = report;
  const lines = [
    `${machine.cpu}, ${machine.threads} threads, Node ${machine.node}; ${training ? 'training' : 'inference'}, float32, ` +
      `medians of ${rounds} rounds`,
    `Large matrix product: ${gemmGigaflopPerSecond.toFixed(0)} GFLOP/s`,
    overview(results),
    ...(layers ? results.map(layerTable) : []),
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
}

function overview(results: readonly Figures[]): string {
  const head = ['network', 'batch', 'images/s', 'ms (least - most)', 'GFLOP/image', 'GFLOP/s', 'of matrix product', 'MB'];
  const table = new Table({ head, style: { head: [], border: [] } });
  for (const { name, batch, milliseconds, imagesPerSecond, gigaflopPerImage, gigaflopPerSecond, ofGemm, megabytes } of results) {
    const { median, minimum, maximum } = milliseconds;
    table.push([
      name,
      batch,
      imagesPerSecond.toFixed(1),
      `${median.toFixed(1)} (${minimum.toFixed(1)} - ${maximum.toFixed(1)})`,
      gigaflopPerImage.toFixed(2),
      gigaflopPerSecond.toFixed(0),
      `${(100 * ofGemm).toFixed(0)} %`,
      megabytes.toFixed(0),
    ]);
  }
  return table.toString();
}

function layerTable({ name, steps }: Figures): string {
  const table = new Table({ head: ['step', 'op', 'ms', 'share'], style: { head: [], border: [] } });
  for (const { label, op, milliseconds, share } of steps) {
    if (share >= 0.002) table.push([label, op, milliseconds.toFixed(2), `${(100 * share).toFixed(1)} %`]);
  }
  const rest = steps.filter(({ share }) => share < 0.002);
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
  table.push([
    `${rest.length} smaller steps`,
    '',
    sum(rest.map((step) => step.milliseconds)).toFixed(2),
    `${(100 * sum(rest.map((step) => step.share))).toFixed(1)} %`,
  ]);
  return `\n${name}, its fastest run\n${table.toString()}`;
}
