/**
 * Prints what each kernel of the CUDA plug-in uses on each target, as the assembler told when the plug-in was built, with warnings as errors. Fails
 * when the assembler warned, or when a kernel's registers spill to memory. Files that are given are compiled instead, for each target; one that says
 * `// needs sm_90a` for that target alone; what has not changed since the last time is not compiled again.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { main, root, run, ScriptError } from './command.mjs';
import { findNvcc } from './cuda-headers.mjs';
import { listSources } from './sources.mjs';

const folder = join(root, 'build', 'cubins');
const atOnce = 2;
const options = [
  '-std=c++20',
  '--expt-relaxed-constexpr',
  '-Werror',
  'all-warnings',
  '-Xptxas',
  '-v',
  '-I',
  'native',
  '-I',
  join('native', 'include'),
];

function targetsOf(path) {
  const needsAccelerated = /^\/\/ needs sm_90a\b/m.test(readFileSync(join(root, path), 'utf8'));
  return needsAccelerated ? ['sm_90a'] : ['sm_80', 'sm_90'];
}

/** A digest of the compiler, its options, and the contents of all files. */
function digest(compiler, paths) {
  const hash = createHash('sha256').update(JSON.stringify([compiler, options]));
  for (const path of paths) hash.update(path).update(existsSync(join(root, path)) ? readFileSync(join(root, path)) : 'missing');
  return hash.digest('hex');
}

/** The files that make's rule in `text` names after the colon. */
function readDependencies(text) {
  return text
    .slice(text.indexOf(':') + 1)
    .replaceAll('\\\n', ' ')
    .split(/\s+/)
    .filter(Boolean);
}

/** What the compiler said of `path` on `target`, from the last time where nothing has changed. */
async function compile(nvcc, compiler, path, target) {
  const base = join(folder, `${path.replaceAll('/', '-')}.${target}`);
  const record = `${base}.json`;
  if (existsSync(record)) {
    const last = JSON.parse(readFileSync(record, 'utf8'));
    if (last.digest === digest(compiler, last.dependencies)) return { path, target, code: 0, output: last.output };
  }
  const rule = `${base}.d`;
  const { code, output } = await run(nvcc, [...options, `-arch=${target}`, '-cubin', '-MMD', '-MF', rule, path, '-o', `${base}.cubin`]);
  if (code === 0) {
    const dependencies = readDependencies(readFileSync(rule, 'utf8'));
    writeFileSync(record, JSON.stringify({ digest: digest(compiler, dependencies), dependencies, output }));
  }
  return { path, target, code, output };
}

/** What the compiler said of every native/cuda/*.cu when the plug-in was built; scripts/keep-messages.sh keeps it. */
function builtResults() {
  return listSources(['.cu'], ['native']).map((path) => {
    const log = join(root, 'build', 'CMakeFiles', 'kw_cuda_objects.dir', `${path}.o.log`);
    if (!existsSync(log)) throw new ScriptError(`${path} was not compiled: ${log} does not exist. Run \`npm run build\` first.`);
    return { path, target: 'all targets', code: 0, output: readFileSync(log, 'utf8') };
  });
}

/** Compiles files that are not part of the plug-in, or not as it is built. */
async function compileAll(sources) {
  const nvcc = findNvcc();
  if (!nvcc) throw new ScriptError('nvcc was not found. Install the CUDA toolkit, or set CUDA_HOME to where it is.');
  const { output: compiler } = await run(nvcc, ['--version']);
  mkdirSync(folder, { recursive: true });
  const jobs = sources.flatMap((path) => targetsOf(path).map((target) => ({ path, target })));
  return await forEach(jobs, ({ path, target }) => compile(nvcc, compiler, path, target));
}

/** Calls `perform` for each item, a few at a time; results in the items' order. */
async function forEach(items, perform) {
  const results = [];
  let next = 0;
  const work = async () => {
    while (next < items.length) {
      const index = next++;
      results[index] = await perform(items[index]);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  return results;
}

/** @returns {{ name: string, target: string, registers: number, shared: number, stack: number, spilled: number }[]} */
function readKernels(output) {
  const kernels = [];
  for (const line of output.split('\n')) {
    const entry = line.match(/Compiling entry function '(\S+)' for '(\S+)'/);
    if (entry) kernels.push({ name: entry[1], target: entry[2], registers: 0, shared: 0, stack: 0, spilled: 0 });
    const kernel = kernels.at(-1);
    if (!kernel) continue;
    const memory = line.match(/(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads/);
    if (memory) {
      // Functions that were not inlined have lines of their own and count for the kernel before them.
      kernel.stack = Math.max(kernel.stack, Number(memory[1]));
      kernel.spilled += Number(memory[2]) + Number(memory[3]);
    }
    kernel.registers = Number(line.match(/Used (\d+) registers/)?.[1] ?? kernel.registers);
    kernel.shared = Number(line.match(/(\d+) bytes smem/)?.[1] ?? kernel.shared);
  }
  return kernels;
}

/** The names as the source has them, where the machine has the program that knows. */
async function readableNames(kernels) {
  const { code, output } = await run('c++filt', [], { input: `${kernels.map(({ name }) => name).join('\n')}\n` });
  if (code !== 0) return kernels.map(({ name }) => name);
  return output.split('\n').map((name) =>
    name
      .replace(/\(.*\)$/, '')
      .replace(/^void /, '')
      .replaceAll('kw::cuda::', ''),
  );
}

function printTable(rows) {
  const lines = [['registers', 'shared', 'stack', 'spilled', 'target', 'kernel'], ...rows];
  const widths = lines[0].map((_, column) => Math.max(...lines.map((line) => line[column].length)));
  for (const line of lines)
    console.log(
      line
        .map((cell, column) => (column < 4 ? cell.padStart(widths[column]) : cell.padEnd(widths[column])))
        .join('  ')
        .trimEnd(),
    );
}

await main(async () => {
  const given = process.argv.slice(2);
  const results = given.length > 0 ? await compileAll(given) : builtResults();
  const failed = results.filter(({ code, output }) => code !== 0 || /ptxas warning/.test(output));
  if (failed.length > 0) {
    throw new ScriptError(failed.map(({ path, target, output }) => `${path} for ${target}:\n${output.trimEnd()}`).join('\n\n'));
  }
  const kernels = results.flatMap(({ output }) => readKernels(output));
  const names = await readableNames(kernels);
  const rows = kernels.map(({ registers, shared, stack, spilled, target }, i) => [
    ...[registers, shared, stack, spilled].map(String),
    target,
    names[i],
  ]);
  printTable(rows);
  const spilling = rows.filter((row) => row[3] !== '0');
  if (spilling.length > 0) {
    const list = spilling.map((row) => `  ${row[5]} for ${row[4]}: ${row[3]} bytes`).join('\n');
    throw new ScriptError(`Registers of these kernels spill to memory. Use smaller tiles, or fewer threads in __launch_bounds__:\n${list}`);
  }
});
