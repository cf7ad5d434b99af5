/** Ours beside the paper's: speeds of known times, memory of known amounts, trained accuracies from a file. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import anyTest from 'ava';
import type { Mode, NetworkCase } from '../../lib/bench/contestant.js';
import { groupedImplementation, networkOfImplementation } from '../../lib/bench/grouped_implementation.js';
import { benchReport, type CaseOutcome } from '../../lib/bench/report.js';
import { runRounds } from '../../lib/bench/rounds.js';
import { excessiveCases, listCases, outOfMemory } from '../../lib/cli/bench/cases.js';
import { speedText } from '../../lib/cli/bench/speed_text.js';
import { KernelWarehouseError } from '../../lib/errors.js';
import { memoryLines } from '../../lib/paper/memory_report.js';
import { paperTables } from '../../lib/paper/printed_tables.js';
import { besidePaper, paperSpeed } from '../../lib/paper/speed.js';
import { readTrainedResults } from '../../lib/paper/trained_results.js';
import { facts } from '../bench/facts.js';
import { fake, useFakeClock } from '../bench/fake.js';

const test = anyTest.serial;
useFakeClock(anyTest);

const folder = mkdtempSync(join(tmpdir(), 'kernel-warehouse-tables-'));
anyTest.after.always(() => rmSync(folder, { recursive: true, force: true }));

const tableOf = (number: number) => paperTables.find((table) => table.number === number)!;

function networkCase(name: string, mode: Mode = 'inference', batch = 100): NetworkCase {
  return { name, model: { network: 'resnet18' }, mode, precision: 'float32', batch, imageSize: 224 };
}

test('Table 12: our figures in its order, beside its own and both ratios to the static network', async (t) => {
  const names = ['mobilenetv2_100', 'resnet50', 'odconv4x_resnet50, grouped', 'odconv4x_resnet50', 'kw1x_resnet50'];
  const times = [10, 100, 800, 400, 200];
  const [gemm, ...timings] = await runRounds(
    [fake({ name: 'matrix product', times: [10], images: 0 }), ...names.map((name, i) => fake({ name, times: [times[i]!], images: 100 }))],
    { rounds: 1, secondsPerRound: 1e-9 },
  );
  const base: CaseOutcome = { network: networkCase('resnet50'), timing: timings[1]! };
  const cases = names.map((name, i): CaseOutcome => {
    if (name === 'resnet50') return base;
    return { network: networkCase(name), timing: timings[i]!, ...(i > 1 ? { against: base } : {}) };
  });
  const left = { network: networkCase('kw4x_resnet50'), problem: 'needs 9 TiB, more than the free 8 GiB' };
  const plain = benchReport({
    facts,
    partial: false,
    imageSize: 224,
    rounds: 1,
    secondsPerRound: 1,
    gemm: new Map([['float32', gemm!]]),
    cases: [...cases, left],
  });
  const report = besidePaper(plain, tableOf(12));
  t.deepEqual(
    report.results.map(({ network, paper }) => [network, paper?.imagesPerSecond]),
    [
      ['resnet50', 647],
      ['odconv4x_resnet50, grouped', 142.3],
      ['odconv4x_resnet50', 142.3],
      ['kw1x_resnet50', 265.4],
      ['mobilenetv2_100', 1410.8],
    ],
  );
  t.is(report.results[3]?.paper?.ratioToStatic, 265.4 / 647);
  const text = speedText(report, 0, 80);
  t.regex(text, /^Table 12: speed of inference\nThe paper's figures: an NVIDIA TITAN X, batch 100, 224 pixels\.\n/);
  t.regex(text, /^kw1x_resnet50 +500 +500 - 500 +0\.50 +265\.4 +0\.41$/m);
  t.regex(text, /^mobilenetv2_100 +10000 +10000 - 10000 +- +1410\.8 +1\.00$/m);
  t.regex(text, /^kw4x_resnet50: needs 9 TiB, more than the free 8 GiB$/m);
  for (const line of text.split('\n')) t.true(line.length <= 80, line);
  t.notRegex(speedText(plain, 0), /paper|Table/);
  t.is(paperSpeed(tableOf(12), 'resnet18'), undefined);
  t.is(paperSpeed(tableOf(1), 'resnet18'), undefined);
});

test('Table 16: predicted and measured memory with their ratios to the static network of the same setting', (t) => {
  const lines = memoryLines(tableOf(16), [
    { network: networkCase('resnet50', 'training', 128), predicted: 1000, measured: 1100 },
    { network: networkCase('kw1x_resnet50', 'training', 128), predicted: 1500, measured: 2200 },
    { network: networkCase('odconv4x_resnet50', 'training', 128), predicted: 2000, problem: 'needs 2 kB' },
    { network: networkCase('resnet50'), predicted: 10 },
    { network: networkCase('kw1x_resnet50'), predicted: 20, measured: 30 },
    { network: networkCase('kw4x_mobilenetv2_100', 'training', 32), predicted: 7, measured: 8 },
  ]);
  t.deepEqual(lines[1], {
    network: 'kw1x_resnet50',
    mode: 'training',
    precision: 'float32',
    batchSize: 128,
    paperMegabytes: { amount: 23_231, ratioToStatic: 23_231 / 11_084 },
    predictedBytes: { amount: 1500, ratioToStatic: 1.5 },
    measuredBytes: { amount: 2200, ratioToStatic: 2 },
  });
  t.is(lines[2]?.problem, 'needs 2 kB');
  t.is(lines[2]?.measuredBytes, undefined);
  t.deepEqual(lines[4]?.measuredBytes, { amount: 30 });
  t.deepEqual(lines[4]?.paperMegabytes, { amount: 2200, ratioToStatic: 2200 / 1249 });
  t.deepEqual(lines[5]?.predictedBytes, { amount: 7 });
});

test('a device that refuses memory leaves the line with what it needs; other errors are thrown again', (t) => {
  const network = { ...networkCase('resnet18', 'inference', 1), imageSize: 32 };
  const refusal = new KernelWarehouseError('ERR_KW_OUT_OF_MEMORY', 'no more');
  t.regex(outOfMemory(refusal, network), /^needs \d+\.\d MiB or more, which the device did not give: no more$/);
  const other = new KernelWarehouseError('ERR_KW_SHAPE', 'too small');
  t.is(
    t.throws(() => outOfMemory(other, network)),
    other,
  );
});

const settings = { batchSize: [1], precision: ['float32'], imageSize: 32 } as const;

test('--impl grouped puts a row after each network that has a kernel for each sample', (t) => {
  const cases = listCases(['kw_mobilenetv2_050', 'se_resnet18', 'dcd_resnet18'], { ...settings, impl: 'grouped' });
  t.deepEqual(
    cases.map(({ network, against }) => [network.name, network.model.implementation, against?.network.name]),
    [
      ['mobilenetv2_050', undefined, undefined],
      ['resnet18', undefined, undefined],
      ['kw_mobilenetv2_050', undefined, 'mobilenetv2_050'],
      ['kw_mobilenetv2_050, grouped', 'grouped', 'mobilenetv2_050'],
      ['se_resnet18', undefined, 'resnet18'],
      ['dcd_resnet18', undefined, 'resnet18'],
    ],
  );
  t.is(excessiveCases(cases, 2 ** 40).size, 0);
  t.throws(() => listCases(['se_resnet18'], { ...settings, impl: 'grouped' }), {
    code: 'ERR_KW_INVALID_ARGUMENT',
    message: /--impl grouped is an implementation of networks with a kernel for each sample, which none of resnet18, se_resnet18 has/,
  });
});

test('every method that mixes or gates a kernel for each sample has a grouped implementation', (t) => {
  const has = (network: string) => groupedImplementation({ name: network, model: { network } })?.name;
  for (const method of ['kw', 'dyconv', 'odconv', 'condconv', 'cgc']) t.is(has(`${method}_resnet18`), `${method}_resnet18, grouped`);
  for (const method of ['se', 'cbam', 'eca', 'dcd', 'weightnet']) t.is(has(`${method}_resnet18`), undefined);
  t.is(networkOfImplementation('kw_resnet18, grouped'), 'kw_resnet18');
  t.is(networkOfImplementation('kw_resnet18'), 'kw_resnet18');
});

function file(contents: string): string {
  const path = join(folder, 'results.json');
  writeFileSync(path, contents);
  return path;
}

test('trained accuracies are read by configuration', (t) => {
  const results = { kw1x_resnet18: { top1: 73.1, top5: 91 }, kw4x_resnet50: { boxAp: 42 } };
  t.deepEqual(readTrainedResults(file(JSON.stringify(results))), results);
});

const refused: readonly (readonly [name: string, contents: string, message: RegExp])[] = [
  ['no JSON', '{', /results\.json: expected a JSON file of trained accuracies in percent, .*: .*JSON/],
  ['a list', '[1]', /the whole: expected record, got \[1\]/],
  ['a share for a percentage', '{"resnet18": {"top1": 700}}', /resnet18\.top1: expected number to be <=100, got 700/],
  ['an unknown figure', '{"resnet18": {"top2": 70}}', /resnet18: .*top2/],
  ['an unknown configuration', '{"kw1x_resnet19": {"top1": 70}}', /no table has a row for 'kw1x_resnet19'; did you mean 'kw1x_resnet18'\?/],
];

for (const [name, contents, message] of refused) {
  test(`results with ${name} are refused`, (t) => {
    t.throws(() => readTrainedResults(file(contents)), { code: 'ERR_KW_DATA', message });
  });
}

test('a file of results that is missing is refused', (t) => {
  t.throws(() => readTrainedResults(join(folder, 'none.json')), { code: 'ERR_KW_DATA', message: /none\.json: .*ENOENT/ });
});
