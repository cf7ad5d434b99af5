/** `bench --bounds` as a user runs it: nothing is timed but what --measured needs. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import anyTest from 'ava';
import type { BoundsReport } from '../../../lib/bench/bounds/bounds_report.js';
import type { BenchReport } from '../../../lib/bench/report.js';
import { kernelWarehouse, makeFolder } from '../program.js';

const test = anyTest.serial;

const { path: folder, remove } = makeFolder();
anyTest.after.always(remove);

function bench(words: string) {
  return kernelWarehouse(['bench', ...words.split(' ')]);
}

test('prints bounds, sums by op and kernel, and the longest steps; JSON and a chart', async (t) => {
  const [json, drawing] = [join(folder, 'model.json'), join(folder, 'model.svg')];
  const { code, stdout, stderr } = await bench(
    `kw1x_resnet18 --bounds h100 --precision bf16 --batch-size 8,100 --rows 4 --json ${json} --chart ${drawing}`,
  );
  t.is(code, 0, stderr);
  t.regex(stdout, /^on paper, nothing was measured: h100, bfloat16 800, .*; 224 pixels\n/);
  t.regex(stdout, /^inference, bfloat16, batch 100\nnetwork +bound ms +images\/s /m);
  t.regex(stdout, /^kw1x_resnet18 +0\.\d+ +\d+ +0\.\d\d +\d+ +\d+ +\d\.\d\d +\d\.\d\d +\d\.\d\d$/m);
  t.regex(stdout, /^inference, bfloat16, batch 100: mixed weights in one place throughout, nothing read twice$/m);
  t.regex(stdout, /^normalized_mixed_conv2d +fused +4 +8 /m);
  const longest = stdout.split(/^kw1x_resnet18, inference, bfloat16, batch 100: the longest of \d+ steps$/m)[1] ?? '';
  t.is(longest.trimEnd().split('\n').length, 1 + 1 + 4, longest);
  const report = JSON.parse(readFileSync(json, 'utf8')) as BoundsReport;
  t.deepEqual(
    report.results.map(({ network, batchSize }) => `${network} ${batchSize}`),
    ['resnet18 8', 'kw1x_resnet18 8', 'resnet18 100', 'kw1x_resnet18 100'],
  );
  t.regex(report.hardware.sources.memoryTerabytesPerSecond ?? '', /datasheet/);
  t.regex(report.command, /^kernel-warehouse bench kw1x_resnet18 --bounds h100 /);
  t.notRegex(JSON.stringify(report), /null|NaN/);
  t.regex(readFileSync(drawing, 'utf8'), /^<svg [\s\S]*kw1x_resnet18[\s\S]*bounds on paper for h100[\s\S]*<\/svg>\n$/);
});

test('--layers lists every step in order; --tf32 and an own processor count', async (t) => {
  const mine = join(folder, 'mine.json');
  const figures = {
    name: 'mine',
    bfloat16TeraflopsPerSecond: 100,
    tf32TeraflopsPerSecond: 50,
    float32TeraflopsPerSecond: 5,
    memoryTerabytesPerSecond: 1,
    l2TerabytesPerSecond: 2,
    l2Mebibytes: 6,
    multiprocessors: 20,
    sharedKibibytesPerBlock: 99,
    launchMicroseconds: 2,
  };
  writeFileSync(mine, JSON.stringify(figures));
  const setting = `resnet18 --bounds ${mine} --training --image-size 64`;
  const [plain, tf32] = await Promise.all([bench(`${setting} --layers`), bench(`${setting} --tf32 --json`)]);
  t.is(plain.code, 0, plain.stderr);
  t.regex(plain.stdout, /mine, bfloat16 100, tf32 50, float32 5 TFLOP\/s; memory 1, L2 2 TB\/s; launch 2 us; 64 pixels/);
  const count = Number(/all (\d+) steps/.exec(plain.stdout)?.[1]);
  const report = JSON.parse(tf32.stdout) as BoundsReport;
  t.is(report.results[0]?.steps.length, count);
  t.true(report.tf32);
  t.is(report.results[0]?.launchMilliseconds, (2 * (report.results[0]?.launches ?? 0)) / 1000);
  const listed = plain.stdout.split(/all \d+ steps\n.*\n/)[1] ?? '';
  t.is(listed.trimEnd().split('\n').length, count);
  t.regex(listed, /^conv1 conv2d +own .*arithmetic\n/);
  const boundOf = (text: string) => Number(/^resnet18 +([\d.]+)/m.exec(text)?.[1]);
  t.true(boundOf(plain.stdout) > 2 * (report.results[0]?.boundMilliseconds ?? 0));
});

test('measured times stand beside their bounds; those of another plan are refused', async (t) => {
  const [times, other, without] = ['times.json', 'other.json', 'without.json'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  const setting = 'mobilenetv2_050 --batch-size 2 --image-size 16';
  const ran = await bench(`${setting} --layers --no-memory --rounds 1 --seconds 0.001 --json ${times}`);
  t.is(ran.code, 0, ran.stderr);
  const report = JSON.parse(readFileSync(times, 'utf8')) as BenchReport;
  const { code, stdout, stderr } = await bench(`${setting} --bounds h100 --measured ${times} --json`);
  t.is(code, 0, stderr);
  const { results, measuredOn } = JSON.parse(stdout) as BoundsReport;
  t.is(measuredOn, report.machine.device);
  const milliseconds = report.results[0]?.profile?.steps.map((step) => step.milliseconds) ?? [];
  t.deepEqual(
    results[0]?.steps.map((step) => step.measuredMicroseconds),
    milliseconds.map((one) => 1000 * one),
  );
  const total = milliseconds.reduce((sum, one) => sum + one, 0);
  t.true(Math.abs((results[0]?.measuredMilliseconds ?? 0) - total) < 1e-9);
  const tables = await bench(`${setting} --bounds h100 --measured ${times} --rows 2`);
  t.regex(tables.stdout, /^measured: on /m);
  t.regex(tables.stdout, /measured us +reached$/m);
  t.regex(tables.stdout, /^normalized_conv2d +own .* \d+ %$/m);

  const [result] = report.results;
  const [first, ...rest] = result?.profile?.steps ?? [];
  writeFileSync(other, JSON.stringify({ ...report, results: [{ ...result, profile: { steps: [{ ...first, op: 'relu' }, ...rest] } }] }));
  const { profile: _, ...bare } = result as BenchReport['results'][0];
  writeFileSync(without, JSON.stringify({ ...report, results: [bare] }));
  const refused = async (words: string, message: RegExp) => {
    const outcome = await bench(words);
    t.is(outcome.code, 1);
    t.regex(outcome.stderr, message);
  };
  await refused(
    `${setting} --bounds h100 --measured ${other}`,
    /of another plan: expected 'features\.0\.0 normalized_conv2d' but received 'features\.0\.0 relu'/,
  );
  await refused(`${setting} --bounds h100 --measured ${without}`, /have no steps; measure with --layers/);
  await refused(
    'mobilenetv2_050 --batch-size 4 --image-size 16 --bounds h100 --measured '.concat(times),
    /none of the networks in this mode.* they have mobilenetv2_050 \(inference, float32, batch 2\) at 16 pixels/,
  );
});

const broken = join(folder, 'broken.json');
writeFileSync(broken, JSON.stringify({ name: 'broken', bfloat16TeraflopsPerSecond: -1 }));

const mistakes: readonly (readonly [name: string, words: string, message: RegExp])[] = [
  ['an unknown processor', 'resnet18 --bounds h1000', /no processor is called 'h1000': expected h100, a100, or a JSON file/],
  ['a file that is missing', 'resnet18 --bounds no-such.json', /no-such\.json: expected a JSON file with a processor's figures: ENOENT/],
  ['a figure that is no rate', `resnet18 --bounds ${broken}`, /broken\.json: bfloat16TeraflopsPerSecond: expected number to be >0, got -1/],
  ['--measured without a processor', 'resnet18 --measured x.json', /--measured belongs to --bounds, which is missing/],
  [
    'measured times that are none',
    `resnet18 --bounds h100 --measured ${broken}`,
    /broken\.json: expected a file that .* wrote: machine: expected object/,
  ],
  ['measured times that are missing', 'resnet18 --bounds h100 --measured none.json', /none\.json: expected a file that .* wrote: ENOENT/],
  ['the name that it had before', 'resnet18 --model h100', /'--model <processor>' .*This option is now called --bounds/],
  ['what says how to measure', 'resnet18 --bounds h100 --rounds 3', /'--bounds <processor>' cannot be used with option '--rounds <count>'/],
];

for (const [name, words, message] of mistakes) {
  test(`${name} is refused`, async (t) => {
    const { code, stdout, stderr } = await bench(words);
    t.true(code === 1 || code === 2, `${code}`);
    t.is(stdout, '');
    t.regex(stderr, message);
  });
}
