/** Parts of the GPU check: which run, what stays of them, and how programs of theirs end. The parts here are fakes; no GPU is needed. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { makeFolder } from '../cli/program.js';

interface Execution {
  readonly code: number;
  readonly output: string;
  readonly timedOut: boolean;
}

type Execute = (program: string, args: readonly string[], options?: object) => Promise<Execution>;

interface Outcome {
  readonly passed: boolean;
  readonly counts?: readonly string[];
  readonly problems?: readonly string[];
  readonly figures?: object;
}

interface Part {
  readonly name: string;
  readonly title: string;
  readonly limitSeconds: number;
  readonly required?: boolean;
  readonly resumes?: boolean;
  readonly run: (context: { readonly execute: Execute; readonly signal: AbortSignal }) => Promise<Outcome>;
}

interface Result extends Required<Outcome> {
  readonly part: string;
  readonly bundle: string;
  readonly commands: readonly string[];
}

interface Options {
  readonly folder: string;
  readonly results: string;
  readonly bundle: string;
  readonly only?: readonly string[];
  readonly failed?: boolean;
  readonly minutes?: number;
  readonly signal: AbortSignal;
  readonly say: (line: string) => void;
}

const script = async <T>(name: string): Promise<T> => (await import(new URL(`../../../scripts/gpu/${name}`, import.meta.url).href)) as T;
const { runParts } = await script<{ runParts(parts: readonly Part[], options: Options): Promise<{ passed: boolean; complete: boolean }> }>(
  'runner.mjs',
);
const { execute, inParallel } = await script<{
  execute(program: string, args: readonly string[], options: { folder: string; limitSeconds?: number }): Promise<Execution>;
  inParallel<T, R>(items: readonly T[], width: number, work: (item: T) => Promise<R>): Promise<R[]>;
}>('execute.mjs');
const { writeSummary } = await script<{
  writeSummary(options: { results: string; parts: readonly Part[]; bundle: { id: string } }): string;
}>('summary.mjs');

/** A folder of results, fake parts that note that they ran, and what was said. */
function bench(t: ExecutionContext) {
  const { path, remove } = makeFolder();
  t.teardown(remove);
  const results = join(path, 'results');
  const ran: string[] = [];
  const said: string[] = [];
  const part = (name: string, outcome: Outcome | Part['run'] = { passed: true }, more: Partial<Part> = {}): Part => ({
    name,
    title: `does ${name}`,
    limitSeconds: 60,
    run: (context) => {
      ran.push(name);
      return typeof outcome === 'function' ? outcome(context) : Promise.resolve(outcome);
    },
    ...more,
  });
  const run = (parts: readonly Part[], more: Partial<Options> = {}) => {
    ran.length = 0;
    const signal = new AbortController().signal;
    return runParts(parts, { folder: path, results, bundle: 'one', signal, say: (line) => said.push(line), ...more });
  };
  const result = (name: string): Result => JSON.parse(readFileSync(join(results, `${name}.json`), 'utf8')) as Result;
  return { path, results, ran, said, part, run, result };
}

test('a part that has ended is not run again, whether it passed or failed', async (t) => {
  const { ran, part, run, result } = bench(t);
  const parts = [part('a'), part('b', { passed: false, problems: ['b is broken'], counts: ['1 failed'] }), part('c')];
  t.deepEqual(await run(parts), { passed: false, complete: true });
  t.deepEqual(ran, ['a', 'b', 'c']);
  t.deepEqual(result('b').problems, ['b is broken']);
  t.deepEqual(await run(parts), { passed: false, complete: true });
  t.deepEqual(ran, []);
});

test('--only runs a part again, --failed those that failed; another bundle runs all', async (t) => {
  const { ran, part, run, result } = bench(t);
  const parts = [part('a'), part('b', { passed: false }), part('c')];
  await run(parts);
  await run(parts, { only: ['c', 'a'] });
  t.deepEqual(ran, ['a', 'c']);
  await run([part('a'), part('b'), part('c')], { failed: true });
  t.deepEqual(ran, ['b']);
  t.true(result('b').passed);
  t.deepEqual(await run(parts, { only: ['a'], bundle: 'two' }), { passed: false, complete: false });
  t.is(result('a').bundle, 'two');
  await run(parts, { bundle: 'two' });
  t.deepEqual(ran, ['b', 'c']);
  await t.throwsAsync(run(parts, { only: ['d'] }), { message: 'There is no part "d"; the parts are a, b, c' });
});

test('nothing runs after a required part that failed', async (t) => {
  const { ran, said, part, run } = bench(t);
  const parts = [part('build', { passed: false }, { required: true }), part('a')];
  t.deepEqual(await run(parts), { passed: false, complete: false });
  t.deepEqual(ran, ['build']);
  t.true(said.includes('a: not run, because build has not passed'));
});

test('a part that throws has failed, with its message; the others run', async (t) => {
  const { results, part, run, result } = bench(t);
  const parts = [part('a', () => Promise.reject(new Error('no such thing'))), part('b')];
  await run(parts);
  t.deepEqual(result('a').problems, ['no such thing']);
  t.regex(readFileSync(join(results, 'a.log'), 'utf8'), /no such thing/);
  t.true(result('b').passed);
});

test('a part is ended at its limit, with the programs that it started', async (t) => {
  const { part, run, result } = bench(t);
  const sleeping = part('a', async (context) => ({ passed: (await context.execute('sleep', ['60'])).code === 0 }), { limitSeconds: 0.2 });
  await run([sleeping]);
  t.false(result('a').passed);
  t.deepEqual(result('a').problems, ['not finished after 0.2 s, its limit']);
  t.deepEqual(result('a').commands, ['sleep 60']);
});

test('a part that goes on where it was ended is started until it ends itself', async (t) => {
  const { ran, said, part, run, result } = bench(t);
  let steps = 0;
  const building = part('build', async (context) => {
    if (++steps < 3) await context.execute('sleep', ['60']);
    return { passed: true };
  });
  t.deepEqual(await run([{ ...building, limitSeconds: 0.2, resumes: true }]), { passed: true, complete: true });
  t.deepEqual(ran, ['build', 'build', 'build']);
  t.true(result('build').passed);
  t.regex(said.join('\n'), /^build: goes on after 0\.\d s$/m);
  const stuck = part('stuck', async (context) => ({ passed: (await context.execute('sleep', ['60'])).code === 0 }));
  t.deepEqual(await run([{ ...stuck, limitSeconds: 0.05, resumes: true }]), { passed: false, complete: true });
  t.is(ran.length, 20);
});

test('an interruption leaves the results of the parts that have ended, and no more', async (t) => {
  const { results, ran, said, part, run } = bench(t);
  const interruption = new AbortController();
  const long = part('b', async (context) => {
    setTimeout(() => interruption.abort(), 50);
    await context.execute('sleep', ['60']);
    return { passed: true };
  });
  const parts = [part('a'), long, part('c')];
  t.deepEqual(await run(parts, { signal: interruption.signal }), { passed: false, complete: false });
  t.deepEqual(ran, ['a', 'b']);
  t.true(said.includes('b: interrupted; it is run again next time'));
  t.deepEqual(
    readdirSync(results).filter((name) => name.endsWith('.json')),
    ['a.json'],
  );
});

test('no part is started that might not end in time', async (t) => {
  const { ran, said, part, run } = bench(t);
  const parts = [part('a', { passed: true }, { limitSeconds: 300 }), part('b'), part('c', { passed: true }, { limitSeconds: 120 })];
  await run(parts, { minutes: 1.5 });
  t.deepEqual(ran, ['b']);
  t.true(said.includes('a: left for the next run, because it may take 5 minutes'));
});

test('a damaged result file is no result', async (t) => {
  const { results, ran, part, run } = bench(t);
  mkdirSync(results);
  writeFileSync(join(results, 'a.json'), '{"part": "a", "bund');
  await run([part('a')]);
  t.deepEqual(ran, ['a']);
});

test('the summary has the machine, every part, what failed, and the figures', async (t) => {
  const { results, part, run } = bench(t);
  const gpu = { name: 'NVIDIA H100 80GB HBM3', driver_version: '580.1', 'memory.total': '81559 MiB', 'power.limit': '700 W' };
  const rates = (median: number) => ({ median, lowerQuartile: 0.9 * median, upperQuartile: 1.1 * median });
  const row = {
    network: 'kw1x_resnet50',
    precision: 'bfloat16',
    batchSize: 100,
    imagesPerSecond: rates(20_000),
    boundImagesPerSecond: 40_000,
  };
  const peers = [
    { name: 'ours, kw1x_resnet50, batch 100', isOurs: true, bytes: 2 ** 30, imagesPerSecond: rates(20_000) },
    {
      name: 'PyTorch, eager, batch 100',
      bytes: 2 ** 31,
      imagesPerSecond: rates(8_000),
      oursToThis: { 'ours, kw1x_resnet50, batch 100': 2.5 },
    },
  ];
  const parts = [
    part('device', { passed: true, figures: { gpus: [gpu], versions: { nvcc: 'release 13.0' } } }),
    part('kernels', { passed: false, problems: ['CUDA add: 1 instead of 2'], counts: ['7 passed, 1 failed'] }),
    part('bench-resnet50-inference', { passed: true, figures: { rows: [{ ...row, ratioToStatic: 0.613, plannedBytes: 3 * 2 ** 30 }] } }),
    part('peers-resnet50-inference', { passed: true, figures: { rounds: 7, facts: { torch: { torch: '2.11' } }, rows: peers } }),
    part('golden'),
  ];
  await run(parts.slice(0, 4));
  const text = readFileSync(writeSummary({ results, parts, bundle: { id: 'one' } }), 'utf8');
  t.regex(text, /^3 of 5 parts passed, 1 failed, 1 not run\.$/m);
  t.regex(text, /GPU: NVIDIA H100 80GB HBM3, driver 580\.1, 81559 MiB/);
  t.regex(text, /^\| kernels \| \*\*failed\*\* \| 7 passed, 1 failed \|/m);
  t.regex(text, /^CUDA add: 1 instead of 2$/m);
  t.regex(text, /^\| kw1x_resnet50 \| bfloat16 \| 100 \| 20,000 \| 18,000 - 22,000 \| 0\.61 \| 40,000 \| 0\.50 \| 3\.00 \|$/m);
  t.regex(text, /^\| PyTorch, eager, batch 100 \| 8,000 \| 7,200 - 8,800 \| 2\.00 \| kw1x_resnet50 2\.50 \|$/m);
  t.regex(text, /^\| golden \| not run \|/m);
});

test('a program that exceeds its limit is ended with its children; one that is not there has exit code 127', async (t) => {
  const { path, remove } = makeFolder();
  t.teardown(remove);
  const mark = join(path, 'mark');
  const ended = await execute('sh', ['-c', `(sleep 2; touch ${mark}) & echo started; wait`], { folder: path, limitSeconds: 0.3 });
  t.deepEqual(ended, { code: 128, output: 'started\n', timedOut: true });
  const absent = await execute('no-such-program', [], { folder: path });
  t.is(absent.code, 127);
  t.regex(absent.output, /no-such-program: .*ENOENT/);
  const failing = await execute('sh', ['-c', 'echo out; echo err >&2; exit 3'], { folder: path });
  t.deepEqual([failing.code, failing.timedOut, failing.output.split('\n').sort()], [3, false, ['', 'err', 'out']]);
  const crashing = await execute('sh', ['-c', 'kill -SEGV $$'], { folder: path });
  t.deepEqual(crashing, { code: 128, output: 'sh was ended by SIGSEGV\n', timedOut: false });
  await new Promise((resolve) => setTimeout(resolve, 2500));
  t.false(existsSync(mark), 'the child lived on');
});

test('work is done for all items, so many at a time', async (t) => {
  let running = 0;
  let most = 0;
  const doubled = await inParallel([3, 1, 2, 5, 4], 2, async (item) => {
    most = Math.max(most, ++running);
    await new Promise((resolve) => setTimeout(resolve, item));
    running--;
    return 2 * item;
  });
  t.deepEqual([doubled, most], [[6, 2, 4, 10, 8], 2]);
});
