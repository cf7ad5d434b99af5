/** What a report makes of known times, and what its chart and its tables show. */
import anyTest from 'ava';
import { chart } from '../../lib/bench/chart.js';
import type { NetworkCase } from '../../lib/bench/contestant.js';
import { type BenchReport, benchReport, type CaseOutcome } from '../../lib/bench/report.js';
import { runRounds, type Timing } from '../../lib/bench/rounds.js';
import { speedText } from '../../lib/cli/bench/speed_text.js';
import { facts } from './facts.js';
import { type FakeOptions, fake, useFakeClock } from './fake.js';

const test = anyTest.serial;
useFakeClock(anyTest);

const network = (name: string, batch = 8): NetworkCase => ({
  name,
  model: { network: 'resnet18' },
  mode: 'inference',
  precision: 'float32',
  batch,
  imageSize: 224,
});

/** One run in the round of the warm-up, twice, then one in each round. */
function timesOf(...rounds: number[]): number[] {
  return [1, 1, ...rounds];
}

async function timed(contestants: readonly FakeOptions[], rounds: number): Promise<Timing[]> {
  return runRounds(contestants.map(fake), { rounds, secondsPerRound: 1e-9, steps: true });
}

/** A matrix product of 100 GFLOP/s in every round, a copy of 10 GB/s, and two networks of 2 GFLOP and 20 MB a run. */
async function report(others: Partial<Parameters<typeof benchReport>[0]> = {}): Promise<BenchReport> {
  const work = { images: 8, flops: 2e9, bytes: 20e6 };
  const [gemm, copy, base, dynamic] = (await timed(
    [
      { name: 'matrix product', times: [10], images: 0, flops: 1e9 },
      { name: 'copy', times: [100], images: 0, flops: 0, bytes: 1e9 },
      { name: 'resnet18', times: timesOf(40, 50, 80), ...work },
      { name: 'kw_resnet18', times: timesOf(80, 50, 100), ...work },
    ],
    3,
  )) as [Timing, Timing, Timing, Timing];
  const against: CaseOutcome = { network: network('resnet18'), timing: base };
  return benchReport({
    facts,
    partial: false,
    imageSize: 224,
    rounds: 3,
    secondsPerRound: 1,
    gemm: new Map([['float32', gemm]]),
    copy,
    cases: [
      against,
      { network: network('kw_resnet18'), timing: dynamic, against, memory: { planned: 1000, measured: 1100 } },
      { network: network('kw_resnet50', 9999), problem: 'needs 9 TiB, more than the free 8 GiB' },
    ],
    ...others,
  });
}

test('figures are medians of the rounds, ratios are taken round by round', async (t) => {
  const { results, unmeasured, matrixProducts, copyGigabytesPerSecond } = await report();
  t.is(matrixProducts[0]?.gigaflopPerSecond.median, 100);
  t.is(copyGigabytesPerSecond?.median, 10);
  const [base, dynamic] = results;
  t.is(base?.imagesPerSecond.median, 160); // 8 images in 50 ms
  t.deepEqual([base?.imagesPerSecond.minimum, base?.imagesPerSecond.maximum], [100, 200]);
  t.is(base?.ratioToOther, undefined);
  t.deepEqual(base?.millisecondsOfRounds, [40, 50, 80]);
  t.is(dynamic?.imagesPerSecond.median, 100); // in 80 ms
  // 40/80, 50/50, 80/100: the median is 0.8, while the ratio of the medians is 0.625.
  t.is(dynamic?.ratioToOther?.network, 'resnet18');
  t.true(Math.abs((dynamic?.ratioToOther?.median ?? 0) - 0.8) < 1e-12);
  t.is(dynamic?.gigaflopPerImage, 0.25);
  t.is(base?.ratioToMatrixProduct.median, 0.4); // 2 GFLOP in 50 ms
  t.deepEqual([dynamic?.plannedBytes, dynamic?.measuredBytes], [1000, 1100]);
  t.false('measuredBytes' in (base ?? {}));
  t.deepEqual(unmeasured, [
    { network: 'kw_resnet50', mode: 'inference', precision: 'float32', batchSize: 9999, problem: 'needs 9 TiB, more than the free 8 GiB' },
  ]);
});

test('a profile has medians of the rounds beside the bound by the measured rates', async (t) => {
  const { results } = await report();
  const figures = results[0]?.profile;
  const [first, second] = figures?.steps ?? [];
  t.is(first?.milliseconds, 12.5); // a quarter of 50 ms
  t.is(first?.share, 0.25);
  t.is(first?.gigaflopPerSecond, 80);
  t.is(first?.gigabytesPerSecond, 0.8);
  t.is(first?.boundMilliseconds, 10); // 1 GFLOP at 100 GFLOP/s; 10 MB at 10 GB/s take 1 ms
  t.is(first?.boundBy, 'arithmetic');
  t.is(second?.milliseconds, 37.5);
  t.deepEqual(
    figures?.ops.map(({ op, steps }) => [op, steps]),
    [
      ['relu', 1],
      ['conv2d', 1],
    ],
  );
  t.is(figures?.outsideMilliseconds, 0);
});

test('what moves much and computes little is bound by memory', async (t) => {
  const [gemm, copy, step] = (await timed(
    [
      { name: 'matrix product', times: [10] },
      { name: 'copy', times: [100], bytes: 1e9 },
      { name: 'x', times: [30], flops: 2e6, bytes: 40e6 },
    ],
    1,
  )) as [Timing, Timing, Timing];
  const { results } = await report({ gemm: new Map([['float32', gemm]]), copy, cases: [{ network: network('x'), timing: step }] });
  const [first] = results[0]?.profile?.steps ?? [];
  t.is(first?.boundBy, 'memory');
  t.is(first?.boundMilliseconds, 2); // 20 MB at 10 GB/s
});

test('runs that take no time give numbers all the same', async (t) => {
  const [gemm, copy, empty] = (await timed(
    [
      { name: 'matrix product', times: [0] },
      { name: 'copy', times: [0] },
      { name: 'x', times: [0], flops: 0, bytes: 0 },
    ],
    2,
  )) as [Timing, Timing, Timing];
  const figures = await report({ gemm: new Map([['float32', gemm]]), copy, cases: [{ network: network('x'), timing: empty }] });
  t.notRegex(JSON.stringify(figures), /null/); // what JSON makes of NaN and infinity
  t.notRegex(speedText(figures, 5) + chart(figures), /NaN|Infinity/);
});

test('figures of a GPU stand under its name', async (t) => {
  const machine = { ...facts.machine, device: 'cuda', deviceDescription: 'NVIDIA H100 80GB HBM3', tf32: true };
  const figures = await report({ facts: { ...facts, machine } });
  t.is(figures.machine.deviceDescription, 'NVIDIA H100 80GB HBM3');
  t.regex(speedText(figures, 0), /^NVIDIA H100 80GB HBM3, TF32; Node v20; 224 pixels/);
  t.regex(speedText(await report(), 0), /^Some <fast> & good processor, 2 threads; Node v20/);
});

test('a case without counted rounds is told apart from one that failed', async (t) => {
  const [gemm, none] = (await timed(
    [
      { name: 'matrix product', times: [10] },
      { name: 'x', times: [1] },
    ],
    0,
  )) as [Timing, Timing];
  const figures = await report({
    partial: true,
    rounds: 0,
    gemm: new Map([['float32', gemm]]),
    cases: [{ network: network('x'), timing: none }],
  });
  t.deepEqual(figures.results, []);
  t.deepEqual(figures.matrixProducts, []);
  t.is(figures.unmeasured[0]?.problem, 'stopped before its first counted round');
});

test('the chart has a bar for each result, as long as its figure, and says what it leaves out', async (t) => {
  const drawing = chart(await report());
  const bars = [...drawing.matchAll(/<rect class="(base|compared)" x="[\d.]+" y="[\d.]+" width="([\d.]+)"/g)];
  t.deepEqual(
    bars.map(([, kind]) => kind),
    ['base', 'compared'],
  );
  const [base, compared] = bars.map(([, , width]) => Number(width)) as [number, number];
  t.true(Math.abs(compared / base - 100 / 160) < 0.01, `${base} ${compared}`);
  t.regex(drawing, />inference, float32, batch 8: images\/s</);
  t.regex(drawing, />100 \(0\.80 of resnet18\)</);
  t.regex(drawing, /kw_resnet50, inference, float32, batch 9999: needs 9 TiB/);
  t.regex(drawing, /Some &lt;fast&gt; &amp; good processor/);
  t.regex(drawing, /prefers-color-scheme: dark/);
  const numbers = [...drawing.matchAll(/ (?:x|width)="([\d.]+)"/g)].map(([, value]) => Number(value));
  t.true(numbers.every((value) => value <= 760));
});

test('the tables fit 80 columns and say what was stopped early', async (t) => {
  const figures = await report({ partial: true });
  const wide = speedText(figures, 1);
  t.regex(wide, /stopped after 3 rounds/);
  t.regex(wide, /kw_resnet18 +100 +90\.0 - 130 +0\.80 +25 % +1000 B +1\.1 KiB/);
  t.regex(wide, /kw_resnet50: needs 9 TiB/);
  t.regex(wide, /second relu +37\.50 +75\.0 % +27 +0\.3 +10\.00 +arithmetic/);
  t.regex(wide, /1 more step +12\.50 +25\.0 %/);
  t.notRegex(speedText(figures, 0), /second relu/);
  const [result] = figures.results;
  const steps =
    result?.profile?.steps.map((step) => ({ ...step, label: 'features.15.conv.1.0', op: 'mixed_conv2d_backward_mixing' })) ?? [];
  const long = {
    ...figures,
    results: [{ ...result, network: 'kw1x_mobilenetv2_100', profile: { ...result?.profile, steps } }],
  } as BenchReport;
  t.regex(speedText(long, 9, 80), /\nfeatures\.15\.conv\.1\.0 .*\nmixed_conv2d_backward_mixing\n/);
  t.regex(speedText(long, 9), /\nfeatures\.15\.conv\.1\.0 mixed_conv2d_backward_mixing /);
  for (const line of speedText(long, 9, 80).split('\n')) t.true(line.length <= 80, line);
  for (const line of speedText(figures, 9, 80).split('\n')) t.true(line.length <= 80, line);
});
