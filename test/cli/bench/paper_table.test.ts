/** `bench --table` as a user runs it: counts, speed and memory beside the paper's. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import anyTest from 'ava';
import type { MemoryReport } from '../../../lib/paper/memory_report.js';
import { kernelWarehouse, makeFolder } from '../program.js';

// One after the other: each uses all cores.
const test = anyTest.serial;

const { path: folder, remove } = makeFolder();
anyTest.after.always(remove);

function bench(words: string) {
  return kernelWarehouse(['bench', ...words.split(' ')]);
}

test('a table of accuracies: counts and the printed figures, with those of a file beside them', async (t) => {
  const results = join(folder, 'results.json');
  writeFileSync(results, JSON.stringify({ kw1x_resnet18: { top1: 73.1 }, kw1x_resnet50: { top1: 80 } }));
  const { code, stdout, stderr } = await bench(`--table 1 --results ${results}`);
  t.is(code, 0, stderr);
  t.regex(stdout, /^Table 1: ResNet18 on ImageNet/);
  t.regex(stdout, /^kw1x_resnet18 +11\.93M +11,932,148 +yes +4\.\d+ +73\.67 +73\.10 +91\.17$/m);
  t.regex(stdout, /^cgc_resnet18 +11\.69M +11,721,791 +no +3\.\d+ +71\.60 +- +90\.35$/m);
  t.regex(stdout, /`kernel-warehouse plan --all` says why/);
  const plain = await bench('--table 17');
  t.regex(plain.stdout, /^kwstar4x_mobilenetv2_100 +12\.51M +12,506,955 +yes +[\d.]+ +76\.54 +92\.35$/m);
  t.notRegex(plain.stdout, /here|says why/);
});

test('a table of accuracies as JSON', async (t) => {
  const { code, stdout, stderr } = await bench('--table 3 --json');
  t.is(code, 0, stderr);
  const { table, lines } = JSON.parse(stdout);
  t.is(table.number, 3);
  t.is(lines.length, 13);
  const { flops, ...line } = lines[4];
  t.true(flops > 8e9);
  t.deepEqual(line, {
    config: 'kw4x_resnet50',
    row: 'ResNet50 + KW (4x)',
    paperCountM: 102.02,
    params: 102_015_144,
    agreement: 'rounded',
    paper: {
      ...{ boxAp: 42.4, boxAp50: 65.4, boxAp75: 46.3, boxApSmall: 27.2, boxApMedium: 46.2, boxApLarge: 54.6 },
      ...{ maskAp: 38.9, maskAp50: 62.0, maskAp75: 41.5, maskApSmall: 22.7, maskApMedium: 42.6, maskApLarge: 53.1 },
    },
    trained: {},
  });
});

test('Table 16 has the batch sizes of the paper, and what the planner predicts without running', async (t) => {
  const { code, stdout, stderr } = await bench('--table 16 --no-memory --image-size 64');
  t.is(code, 0, stderr);
  t.regex(stdout, /^training, float32, batch 128$[\s\S]*^training, float32, batch 32$[\s\S]*^inference, float32, batch 100$/m);
  t.regex(stdout, /^odconv4x_resnet50 +31,892 +2\.88 +[\d,]+ +[\d.]+ +- +-$/m);
  t.regex(stdout, /^mobilenetv2_100 +2,486 +1\.00 +[\d,]+ +1\.00 +- +-$/m);
});

test('Table 16 is measured line by line; Ctrl-C leaves the lines that are complete', async (t) => {
  const json = join(folder, 'memory.json');
  const words = `bench --table 16 --training --batch-size 1 --precision bf16 --image-size 32 --json ${json}`;
  const { code, stdout, stderr } = await kernelWarehouse(words.split(' '), {
    signals: { when: / [2-9]\/12/, names: ['SIGINT'], stream: 'stderr' },
  });
  t.is(code, 130, stderr);
  t.regex(stderr, /^SIGINT: stopping with the rows that are complete/m);
  t.regex(stdout, /; stopped before the end$/m);
  const { partial, lines, imageSizePixels, machine } = JSON.parse(readFileSync(json, 'utf8')) as MemoryReport;
  t.true(partial && lines.length >= 2 && lines.length < 12);
  t.is(imageSizePixels, 32);
  t.is(machine.device, 'cpu');
  const [first] = lines;
  t.deepEqual([first?.network, first?.mode, first?.precision, first?.batchSize], ['resnet50', 'training', 'bfloat16', 1]);
  // Parameters, gradients and momentum.
  t.true((first?.predictedBytes.amount ?? 0) > 12 * 25_557_032 && (first?.measuredBytes?.amount ?? 0) > 12 * 25_557_032);
  t.is(first?.measuredBytes?.ratioToStatic, 1);
});

test('Table 16: a line that does not fit says what it needs, and the others go on', async (t) => {
  const { code, stdout, stderr } = await bench('--table 16 --inference --batch-size 60000');
  t.is(code, 0, stderr);
  t.regex(stdout, /^kw4x_mobilenetv2_100: needs \d+ GiB, more than the free [\d.]+ [GM]iB$/m);
  t.is(stdout.match(/more than the free/g)?.length, 12);
});

test('Table 12 has its own networks and batch size; Ctrl-C before there are figures says so', async (t) => {
  const { code, stdout, stderr } = await kernelWarehouse('bench --table 12 --image-size 32 --impl grouped'.split(' '), {
    signals: { when: /^preparing/, names: ['SIGINT'], stream: 'stderr' },
  });
  t.is(code, 130, stderr);
  t.is(stdout, '');
  t.regex(stderr, /^preparing +\d+\/22 .*network \w+(, grouped)? inference 100$/m);
  t.regex(stderr, /stopped before the first counted round was complete: there are no figures$/m);
});

const foreign = join(folder, 'foreign.json');
writeFileSync(foreign, JSON.stringify({ deit_tiny: { top1: 70 } }));

const mistakes: readonly (readonly [name: string, words: string, message: RegExp])[] = [
  ['an unknown table', '--table 5', /--table: there is no table 5 here; expected one of 1, 2, 3, 4, 10, 11, 12, 16, 17\n/],
  ['a table and a network', 'resnet18 --table 12', /--table 12 has networks of its own: leave out resnet18\n/],
  ['running what runs nothing', '--table 1 --batch-size 4 --rounds 3', /--table 1 runs nothing: leave out --batch-size, --rounds\n/],
  ['another image size for counts', '--table 1 --image-size 32', /--table 1 runs nothing: leave out --image-size\n/],
  ['an implementation for counts', '--table 10 --impl grouped', /--table 10 runs nothing: leave out --impl\n/],
  ['training for speeds of inference', '--table 12 --training', /--table 12 times inference of its own networks: leave out --training\n/],
  ['another comparison', '--table 12 --against resnet18', /--table 12 times inference of its own networks: leave out --against\n/],
  ['a processor on paper', '--table 12 --bounds h100', /--table 12 times inference of its own networks: leave out --bounds\n/],
  ['trained accuracies for memory', '--table 16 --results x', /--table 16 measures the memory of its own networks: leave out --results\n/],
  ['rounds for memory', '--table 16 --rounds 3', /--table 16 measures the memory of its own networks: leave out --rounds\n/],
  ['counts without a memory to measure', '--table 2 --no-memory', /--table 2 runs nothing: leave out --no-memory\n/],
  ['results without a table', '--results x', /--results belongs to --table, which is missing\n/],
  ['results of other lines', `--table 1 --results ${foreign}`, /foreign\.json: table 1 has no row for deit_tiny; leave out --results\n/],
  ['figures over their results', `--table 11 --results ${foreign} --json ${foreign}`, /foreign\.json, which is read here/],
  ['no number', '--table one', /'--table <number>' argument 'one' is invalid/],
  ['another implementation', 'kw_resnet18 --impl fast', /argument 'fast' is invalid\. Allowed choices are grouped\./],
  [
    'an implementation on paper',
    'kw_resnet18 --impl grouped --bounds h100',
    /'--bounds <processor>' cannot be used with option '--impl <kind>'/,
  ],
];

for (const [name, words, message] of mistakes) {
  test(`${name} is refused`, async (t) => {
    const { code, stdout, stderr } = await bench(words);
    t.true(code === 1 || code === 2, stderr);
    t.is(stdout, '');
    t.regex(stderr, message);
  });
}
