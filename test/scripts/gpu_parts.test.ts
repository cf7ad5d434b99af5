/** What the parts of the GPU check are made of, as far as no GPU is needed: the build's arguments, reports read, turns taken beside PyTorch. */
import { existsSync } from 'node:fs';
import { Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import test from 'ava';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const script = async <T>(name: string): Promise<T> => (await import(new URL(`../../../scripts/${name}`, import.meta.url).href)) as T;

const build = await script<{
  architecture(gpus: readonly object[]): string | undefined;
  configureArguments(folder: string, options: { arch?: string; generator?: string }): string[];
}>('gpu/build.mjs');
const checks = await script<{
  readTap(output: string): { passed: number; failed: string[] };
  deviceTestFiles(folder: string): string[];
}>('gpu/checks.mjs');
const benchmarks = await script<{
  processorOf(gpus: readonly object[]): string | undefined;
  briefly(report: object, bounds?: object): object[];
}>('gpu/benchmarks.mjs');

interface Asked {
  ask(request: object): Promise<Record<string, unknown>>;
}
interface Contestant {
  readonly name: string;
  readonly side: Asked;
  readonly wait: 'end' | 'each';
  readonly isOurs: boolean;
  readonly batch: number;
  readonly bytes: number;
}
const peers = await script<{
  Side: new (
    program: string,
    args: readonly string[],
    options: { folder: string; log: Writable; signal: AbortSignal },
  ) => Asked & { end(): Promise<string> };
  timeInRounds(contestants: readonly Contestant[], options: { rounds: number; seconds: number }): Promise<Map<string, number[]>>;
  compare(contestants: readonly Contestant[], times: Map<string, number[]>): Record<string, unknown>[];
}>('gpu/peers.mjs');
const bundle = await script<{ largestBytes: number; listProjectFiles(): string[]; listModules(): string[] }>('gpu-bundle.mjs');

test('the build is for the GPU that is there, and for all of the package where there is none', (t) => {
  t.is(build.architecture([{ compute_cap: '9.0' }]), '90');
  t.is(build.architecture([{ compute_cap: '12.0' }, { compute_cap: '8.0' }]), '120');
  t.is(build.architecture([]), undefined);
  t.is(build.architecture([{ compute_cap: '[N/A]' }]), undefined);
  const given = build.configureArguments('/w', { arch: '90', generator: 'Ninja' });
  t.true(given.includes('-DCMAKE_CUDA_ARCHITECTURES=90') && given.join(' ').includes('-G Ninja'));
  t.true(given.includes('-DCMAKE_JS_INC=/w/node_modules/node-api-headers/include;/w/node_modules/node-addon-api'));
  t.true(given.includes('-DCMAKE_PREFIX_PATH=/w/third_party'));
  const bare = build.configureArguments('/w', {});
  t.false(bare.some((word) => word.includes('CUDA_ARCHITECTURES') || word === '-G' || word.includes('CUDNN')));
});

test("AVA's results are counted, skipped ones left out", (t) => {
  const output = ['TAP version 13', 'ok 1 - tiny › adds on cuda', 'not ok 2 - b › fails on cuda', '  ---', 'ok 3 - c # SKIP', '1..3'].join(
    '\n',
  );
  t.deepEqual(checks.readTap(output), { passed: 1, failed: ['b › fails on cuda'] });
});

test('the device tests are those that ask for devices; golden networks have a part of their own', (t) => {
  const files = checks.deviceTestFiles(root);
  t.true(files.includes('dist/test/tiny.test.js') && files.includes('dist/test/golden/layers.test.js'));
  t.false(files.includes('dist/test/golden/networks.test.js') || files.includes('dist/test/random.test.js'));
});

test('a benchmark is shown with its bounds, in the precision that its products had', (t) => {
  t.is(benchmarks.processorOf([{ name: 'NVIDIA H100 80GB HBM3' }]), 'h100');
  t.is(benchmarks.processorOf([{ name: 'NVIDIA GeForce RTX 4090' }]), undefined);
  t.is(benchmarks.processorOf([]), undefined);
  const setting = { network: 'kw1x_resnet18', mode: 'inference', precision: 'float32', batchSize: 100 };
  const result = { ...setting, imagesPerSecond: { median: 10 }, ratioToOther: { network: 'resnet18', median: 0.5 }, plannedBytes: 7 };
  const bounds = {
    results: [
      { ...setting, batchSize: 1, imagesPerSecond: 1 },
      { ...setting, imagesPerSecond: 40 },
    ],
  };
  const row = { ...setting, imagesPerSecond: { median: 10 }, ratioToStatic: 0.5, plannedBytes: 7 };
  t.deepEqual(benchmarks.briefly({ machine: { tf32: false }, results: [result] }, bounds), [{ ...row, boundImagesPerSecond: 40 }]);
  t.deepEqual(benchmarks.briefly({ machine: { tf32: true }, results: [result] }), [{ ...row, precision: 'tf32' }]);
});

test('contestants take turns, with as many runs as fill a turn, and are compared round by round', async (t) => {
  const turns: string[] = [];
  const contestant = (name: string, isOurs: boolean, secondsOfRounds: readonly number[]): Contestant => {
    let asked = 0;
    const side: Asked = {
      ask: async (request) => {
        const { runs, wait } = request as { runs: number; wait: string };
        turns.push(`${name} ${runs} ${wait}`);
        return { seconds: runs * (secondsOfRounds[asked++] as number) };
      },
    };
    return { name, side, wait: isOurs ? 'end' : 'each', isOurs, batch: 10, bytes: 5 };
  };
  const contestants = [contestant('ours', true, [0.125, 0.125, 0.25, 0.125]), contestant('theirs', false, [0.5, 0.5, 1, 0.25])];
  const times = await peers.timeInRounds(contestants, { rounds: 3, seconds: 1 });
  const round = ['ours 8 end', 'theirs 2 each'];
  t.deepEqual(turns, ['ours 3 end', 'theirs 3 each', ...round, ...round, ...round]);
  const [ours, theirs] = peers.compare(contestants, times);
  t.like(ours, { name: 'ours', isOurs: true, batch: 10, bytes: 5, imagesPerSecond: { median: 80 } });
  t.false('oursToThis' in (ours as object));
  t.like(theirs, { imagesPerSecond: { median: 20 }, oursToThis: { ours: 4 } });
});

test('a side answers line by line; its errors and its end are told', async (t) => {
  const log = new Writable({ write: (_chunk, _encoding, done) => done() });
  const answering = `
    require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
      const request = JSON.parse(line);
      if (request.do === 'quit') process.exit(0);
      if (request.do === 'die') process.exit(3);
      console.log(JSON.stringify(request.do === 'fail' ? { error: 'out of luck' } : { echo: request.value }));
    });`;
  const options = { folder: root, log, signal: new AbortController().signal };
  const side = new peers.Side(process.execPath, ['--eval', answering], options);
  t.deepEqual(await side.ask({ do: 'echo', value: 1 }), { echo: 1 });
  await t.throwsAsync(side.ask({ do: 'fail' }), { message: 'out of luck' });
  t.deepEqual(await side.ask({ do: 'echo', value: 2 }), { echo: 2 });
  await t.throwsAsync(side.ask({ do: 'die' }), { message: /ended with exit code 3; its messages are in the log/ });
  const absent = new peers.Side('no-such-program', [], options);
  await t.throwsAsync(absent.ask({ do: 'facts' }), { message: /no-such-program: .*ENOENT/ });
  const ending = new peers.Side(process.execPath, ['--eval', answering], options);
  t.regex(await ending.end(), /exit code 0/);
});

test('the bundle has what is built, run and read, every module that it needs, and little else', (t) => {
  const files = bundle.listProjectFiles();
  for (const needed of [
    'CMakeLists.txt',
    'ava.config.js',
    'dist/lib/cli/main.js',
    'dist/test/tiny.test.js',
    'lib/configurations/official/kw1x_resnet50.json',
    'native/cuda/cuda.cmake',
    'scripts/gpu/main.mjs',
    'scripts/gpu/peers.py',
    'test/golden/cases/layer-b1.json',
    'test/native/cuda/device_tests.cmake',
  ]) {
    t.true(files.includes(needed), needed);
  }
  t.deepEqual(
    files.filter((path) => /\.d\.ts$|\.map$|^test\/.*\.ts$/.test(path)),
    [],
  );
  const modules = bundle.listModules();
  for (const name of ['ava', 'commander', 'fast-check', 'node-addon-api', 'node-api-headers', 'sharp', 'zod'])
    t.true(modules.includes(`node_modules/${name}`));
  t.false(modules.some((path) => /\/(typescript|@biomejs|cmake-js)/.test(path)));
  t.true(modules.every((path) => existsSync(`${root}${path}/package.json`)));
  t.is(bundle.largestBytes, 60 * 1024 * 1024);
});
