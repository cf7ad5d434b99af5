/** `bench` as a user runs it, on images of 16 pixels. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import anyTest from 'ava';
import type { BenchReport } from '../../../lib/bench/report.js';
import { availableCores } from '../../../lib/runtime/device.js';
import { kernelWarehouse, makeFolder } from '../program.js';

// One after the other: each uses all cores.
const test = anyTest.serial;

const { path: folder, remove } = makeFolder();
anyTest.after.always(remove);

const quick = ['--image-size', '16', '--rounds', '2', '--seconds', '0.001'];

function bench(words: string, options: readonly string[] = quick) {
  return kernelWarehouse(['bench', ...words.split(' '), ...options]);
}

function finiteNumbers(value: unknown): boolean {
  if (typeof value === 'object' && value !== null) return Object.values(value).every(finiteNumbers);
  return value !== null && (typeof value !== 'number' || Number.isFinite(value));
}

test('every batch size and mode in one run, compared with the static network, as tables, JSON and chart', async (t) => {
  const [json, drawing] = [join(folder, 'all.json'), join(folder, 'all.svg')];
  const { code, stdout, stderr } = await bench(
    `kw1x_mobilenetv2_050 --batch-size 1,2 --inference --training --layers --rows 3 --json ${json} --chart ${drawing}`,
  );
  t.is(code, 0, stderr);
  const report = JSON.parse(readFileSync(json, 'utf8')) as BenchReport;
  t.deepEqual(
    report.results.map(({ network, mode, precision, batchSize }) => `${network} ${mode} ${precision} ${batchSize}`),
    ['inference float32 1', 'inference float32 2', 'training float32 1', 'training float32 2'].flatMap((setting) => [
      `mobilenetv2_050 ${setting}`,
      `kw1x_mobilenetv2_050 ${setting}`,
    ]),
  );
  t.true(finiteNumbers(report));
  t.false(report.partial);
  t.is(report.rounds, 2);
  t.is(report.imageSizePixels, 16);
  t.deepEqual(report.unmeasured, []);
  t.true((report.matrixProducts[0]?.gigaflopPerSecond.median ?? 0) > 0 && (report.copyGigabytesPerSecond?.median ?? 0) > 0);
  t.regex(report.command, /^kernel-warehouse bench kw1x_mobilenetv2_050 --batch-size 1,2 /);
  t.true(report.machine.threads >= 1 && report.machine.physicalCores >= 1 && report.machine.memoryBytes > 0);
  t.regex(report.versions.kernelWarehouse, /^\d/);
  for (const {
    network,
    ratioToOther,
    measuredBytes,
    plannedBytes,
    imagesPerSecond,
    millisecondsOfRounds,
    batchSize,
    profile,
  } of report.results) {
    t.is(ratioToOther?.network, network.startsWith('kw') ? 'mobilenetv2_050' : undefined);
    t.true((measuredBytes ?? 0) > plannedBytes / 2);
    t.is(millisecondsOfRounds.length, 2);
    t.true(Math.abs(imagesPerSecond.maximum - (1000 * batchSize) / Math.min(...millisecondsOfRounds)) < 1e-6 * imagesPerSecond.maximum);
    t.true(profile !== undefined && Math.abs(profile.steps.reduce((sum, { share }) => sum + share, 0) - 1) < 1e-9);
  }
  t.regex(stdout, /^training, float32, batch 2$/m);
  t.regex(stdout, /^kw1x_mobilenetv2_050 +[\d.]+ +[\d.]+ - [\d.]+ +0\.\d\d +\d+ % +[\d.]+ MiB +[\d.]+ MiB$/m);
  t.regex(stdout, /^kw1x_mobilenetv2_050, inference, float32, batch 1: the slowest of \d+ steps$/m);
  t.regex(stdout, /^\d+ more steps /m);
  t.regex(readFileSync(drawing, 'utf8'), /^<svg [\s\S]*kw1x_mobilenetv2_050[\s\S]*<\/svg>\n$/);
});

test('--json prints nothing else; --against replaces the static network', async (t) => {
  const { code, stdout } = await bench('mobilenetv2_050 --against mobilenetv2_100 --no-memory --training --json');
  t.is(code, 0);
  const { results, copyGigabytesPerSecond } = JSON.parse(stdout) as BenchReport;
  t.deepEqual(
    results.map(({ network, mode, ratioToOther }) => [network, mode, ratioToOther?.network]),
    [
      ['mobilenetv2_100', 'training', undefined],
      ['mobilenetv2_050', 'training', 'mobilenetv2_100'],
    ],
  );
  t.true(results.every((result) => !('measuredBytes' in result) && !('profile' in result)));
  t.is(copyGigabytesPerSecond, undefined);
});

test('a network that does not fit has a row that says so, and the others run', async (t) => {
  const { code, stdout, stderr } = await bench('mobilenetv2_050 --batch-size 1,60000 --no-memory', [
    ...['--image-size', '224', '--rounds', '1', '--seconds', '0.001'],
  ]);
  t.is(code, 0, stderr);
  t.regex(stdout, /^inference, float32, batch 1\n.*\n.*\nmobilenetv2_050 +[\d.]+ /m);
  t.regex(stdout, /^inference, float32, batch 60000\nmobilenetv2_050: needs [\d.]+ GiB, more than the free [\d.]+ [GM]iB$/m);
});

test('nothing that fits is a failure', async (t) => {
  const { code, stdout } = await kernelWarehouse([
    'bench',
    'mobilenetv2_050',
    '--batch-size',
    '60000',
    '--image-size',
    '224',
    '--rounds',
    '1',
  ]);
  t.is(code, 1);
  t.regex(stdout, /mobilenetv2_050: needs [\d.]+ GiB/);
});

test('a network given twice is timed once; more threads than cores are noted', async (t) => {
  const { code, stdout, stderr } = await bench(`mobilenetv2_050 mobilenetv2_050 --no-memory --threads ${availableCores() + 1} --json`, [
    ...['--image-size', '16', '--rounds', '1', '--seconds', '0.001', '--batch-size', '1,1'],
  ]);
  t.is(code, 0, stderr);
  t.is((JSON.parse(stdout) as BenchReport).results.length, 1);
  t.regex(stderr, /^kernel-warehouse: mobilenetv2_050 is given more than once and timed once$/m);
  t.regex(stderr, /^kernel-warehouse: \d+ threads have to share \d+ physical cores?, which is slower; leave out --threads /m);
});

test('Ctrl-C gives the figures of the rounds that are complete, marked as partial', async (t) => {
  const json = join(folder, 'partial.json');
  const { code, stdout, stderr } = await kernelWarehouse(
    ['bench', 'mobilenetv2_050', '--image-size', '16', '--rounds', '10000', '--seconds', '0.01', '--no-memory', '--json', json],
    { signals: { when: /round ([2-9]|\d{2,})\/10000/, names: ['SIGINT'], stream: 'stderr' } },
  );
  t.is(code, 130, stderr);
  t.regex(stdout, /stopped after \d+ rounds/);
  const report = JSON.parse(readFileSync(json, 'utf8')) as BenchReport;
  t.true(report.partial && report.rounds >= 1 && report.rounds < 10_000);
  t.is(report.results[0]?.millisecondsOfRounds.length, report.rounds);
  t.regex(stderr, /^SIGINT: stopping after this run/m);
});

const refused: readonly (readonly [name: string, words: string, message: RegExp])[] = [
  ['an unknown network', 'resnet19', /no network or configuration 'resnet19'; did you mean 'resnet18'\?/],
  ['a network that is taken for a file', '--json resnet18', /--json took the network resnet18 for a file; put --json last/],
  ['a folder that is missing', 'resnet18 --json no-such-folder/x.json', /there is no folder no-such-folder to write it to/],
  ['a folder for a file', `resnet18 --chart ${folder}`, /expected a file to write, but it is a folder/],
  ['a device for a file', 'resnet18 --json /dev/full', /\/dev\/full: expected a file to write, but it is something else/],
  ['one file for both', `resnet18 --json ${folder}/x --chart ${folder}/x`, /--json and --chart cannot both write to /],
  ['images that are too small', 'deit_tiny --image-size 3 --no-memory', /3/],
];

for (const [name, words, message] of refused) {
  test(`${name} is refused before anything is measured`, async (t) => {
    const { code, stdout, stderr } = await kernelWarehouse(['bench', ...words.split(' ')]);
    t.is(code, 1);
    t.is(stdout, '');
    t.regex(stderr, message);
    t.is(stderr.trimEnd().split('\n').length, 1, stderr);
  });
}

test('a configuration file is not replaced by the figures', async (t) => {
  const config = join(folder, 'mine.json');
  writeFileSync(config, JSON.stringify({ model: 'kw_mobilenetv2_050' }));
  const { code, stderr } = await bench(`${config} --json ${config}`);
  t.is(code, 1);
  t.regex(stderr, /writing it would replace .*mine\.json, which is read here/);
  t.is(readFileSync(config, 'utf8'), JSON.stringify({ model: 'kw_mobilenetv2_050' }));
  t.false(existsSync(join(folder, 'x')));
});
