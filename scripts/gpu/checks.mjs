/** The parts of the GPU check that prove results: tests of kernels, device tests, golden cases, and kernels under compute-sanitizer. */
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { inParallel, lastLines } from './execute.mjs';
import { findTool } from './machine.mjs';

/** Processes that share the GPU; each has a context of its own there. */
const WIDTH = 4;

const testProgram = (folder) => join(folder, 'build', 'Release', 'kw_cuda_device_tests');

/** The names of all test cases of a doctest program, in its order. */
async function listCases(execute, program) {
  const { code, output } = await execute(program, ['--list-test-cases', '--no-colors=true']);
  if (code !== 0) throw new Error(`${program} does not start: ${lastLines(output, 5)}`);
  return output.split('\n').filter((line) => line !== '' && !line.startsWith('[doctest]') && !line.startsWith('==='));
}

/** Arguments that choose one case by its place: names have commas, which would end them. */
const caseAt = (index) => [`--first=${index + 1}`, `--last=${index + 1}`, '--no-colors=true'];

function countsOf(passed, failed, more = []) {
  return [[`${passed} passed`, failed > 0 && `${failed} failed`, ...more].filter(Boolean).join(', ')];
}

/** Every test case in a process of its own: a fault on a GPU ends all later work of its process. */
export function kernelPart(folder) {
  return {
    name: 'kernels',
    title: "runs the kernels' tests on the GPU",
    limitSeconds: 470,
    async run({ execute }) {
      const program = testProgram(folder);
      const names = await listCases(execute, program);
      const runs = await inParallel(names, WIDTH, async (name, index) => ({
        name,
        ...(await execute(program, caseAt(index), { limitSeconds: 240 })),
      }));
      const failed = runs.filter(({ code }) => code !== 0);
      return {
        passed: names.length > 0 && failed.length === 0,
        counts: countsOf(names.length - failed.length, failed.length),
        problems: failed.map(({ name, output, timedOut }) => `${name}\n${timedOut ? 'not finished after 240 s' : lastLines(output, 15)}`),
      };
    },
  };
}

/** The compiled test files that register tests for each device. */
export function deviceTestFiles(folder) {
  const tests = join(folder, 'dist', 'test');
  return readdirSync(tests, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.test.js') && /devices\.js['"]/.test(readFileSync(join(tests, path), 'utf8')))
    .filter((path) => basename(path) !== 'networks.test.js' || !path.includes('golden')) // the part `golden` runs all of these
    .map((path) => join('dist', 'test', path))
    .sort();
}

/** Results in the Test Anything Protocol. */
export function readTap(output) {
  const results = [...output.matchAll(/^(not )?ok \d+ - (.*)$/gm)].filter(([, , title]) => !/ # (SKIP|TODO)/.test(title));
  const failed = results.filter(([, not]) => not).map(([, , title]) => title);
  return { passed: results.length - failed.length, failed };
}

export function deviceTestPart(folder) {
  return {
    name: 'tests',
    title: 'runs the TypeScript tests of devices on the GPU',
    limitSeconds: 470,
    async run({ execute }) {
      const ava = join('node_modules', 'ava', 'entrypoints', 'cli.mjs');
      const options = ['--tap', '--match=*on cuda*', `--concurrency=${WIDTH}`, '--timeout=4m'];
      const { code, output } = await execute(process.execPath, [ava, ...options, ...deviceTestFiles(folder)]);
      const { passed, failed } = readTap(output);
      const details = failed.map((title) => `${title}\n${detailsOf(output, title)}`);
      const crashed = code !== 0 && failed.length === 0 ? [lastLines(output, 20)] : [];
      return { passed: code === 0 && passed > 0, counts: countsOf(passed, failed.length), problems: [...details, ...crashed] };
    },
  };
}

/** The lines that follow a failed test in TAP. */
function detailsOf(output, title) {
  const lines = output
    .slice(output.indexOf(` - ${title}`))
    .split('\n')
    .slice(1);
  const end = lines.findIndex((line) => /^(not )?ok \d+|^ +\.\.\.$/.test(line));
  return lines.slice(0, Math.min(end < 0 ? lines.length : end, 20)).join('\n');
}

export function goldenPart(folder) {
  return {
    name: 'golden',
    title: "compares with the authors' implementation in float64: layers, networks, training runs",
    limitSeconds: 470,
    async run({ execute }) {
      const names = readdirSync(join(folder, 'test', 'golden', 'cases'))
        .filter((name) => name.endsWith('.json'))
        .map((name) => basename(name, '.json'));
      const main = join('dist', 'test', 'golden', 'main.js');
      const runs = await inParallel(names, WIDTH, async (name) => ({
        name,
        ...(await execute(process.execPath, [main, '--device', 'cuda', '--accept-flipped', '--only', name], { limitSeconds: 400 })),
      }));
      const failed = runs.filter(({ code }) => code !== 0);
      return {
        passed: names.length > 0 && failed.length === 0,
        counts: countsOf(names.length - failed.length, failed.length),
        problems: failed.map(({ name, output, timedOut }) => `${name}\n${timedOut ? 'not finished after 400 s' : lastLines(output, 12)}`),
        figures: { cases: Object.fromEntries(runs.map(({ name, output }) => [name, output.split('\n')[0]])) },
      };
    },
  };
}

const sanitizerTools = {
  memcheck: 'accesses out of bounds or misaligned',
  racecheck: 'races in shared memory',
  initcheck: 'reads of memory that nothing was written to',
  synccheck: 'barriers that not all threads reach',
};

/** Exit code by which compute-sanitizer says that it found something. */
const FOUND = 86;

/** Seconds before the limit at which no further test case is started. */
const RESERVE_SECONDS = 100;

/**
 * One tool of compute-sanitizer, 10 to 100 times slower than the GPU: a golden layer through the whole package, then the tests of kernels, as many
 * as there is time for. Those left out are counted, and do not fail the part.
 */
export function sanitizerPart(folder, tool) {
  return {
    name: tool,
    title: `compute-sanitizer: ${sanitizerTools[tool]}`,
    limitSeconds: 470,
    async run({ execute, secondsLeft }) {
      const sanitizer = findTool('compute-sanitizer');
      if (!sanitizer) return { passed: false, problems: ['compute-sanitizer was not found; it is part of the CUDA toolkit'] };
      const program = testProgram(folder);
      const names = await listCases(execute, program);
      const under = ['--tool', tool, '--error-exitcode', String(FOUND), '--target-processes', 'all'];
      const layer = [process.execPath, join('dist', 'test', 'golden', 'main.js'), '--device', 'cuda', '--only', 'layer-b1'];
      const work = [
        { name: 'golden layer-b1', command: layer },
        ...names.map((name, index) => ({ name, command: [program, ...caseAt(index)] })),
      ];
      const runs = await inParallel(work, WIDTH, async ({ name, command }) => {
        if (secondsLeft() < RESERVE_SECONDS) return undefined;
        return { name, ...(await execute(sanitizer, [...under, ...command], { limitSeconds: RESERVE_SECONDS - 20 })) };
      });
      const done = runs.filter((run) => run !== undefined && !run.timedOut);
      const failed = done.filter(({ code }) => code !== 0);
      const left = work.length - done.length;
      return {
        passed: done.length > 0 && failed.length === 0,
        counts: countsOf(done.length - failed.length, failed.length, left > 0 ? [`${left} left out for lack of time`] : []),
        problems: failed.map(({ name, output }) => `${name}\n${lastLines(output, 15)}`),
        figures: { leftOut: work.filter((_, index) => !runs[index] || runs[index].timedOut).map(({ name }) => name) },
      };
    },
  };
}

/** @returns {import('./runner.mjs').Part[]} */
export function checkParts(folder) {
  const sanitizers = Object.keys(sanitizerTools).map((tool) => sanitizerPart(folder, tool));
  return [kernelPart(folder), deviceTestPart(folder), goldenPart(folder), ...sanitizers];
}
