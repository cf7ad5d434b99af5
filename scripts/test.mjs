/**
 * `npm test`: setup, the checks of the source text, the C++ tests, the CUDA kernels, then the TypeScript tests. Prints failures as they come and, as its last line,
 * `N passed, N failed`, where each check of the source text counts as one test. With files (`npm test -- test/tiny.test.ts`) it runs only these.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { listChecks } from './checks.mjs';
import { elapsed, root, run } from './command.mjs';
import { findNvcc } from './cuda-headers.mjs';

const count = { passed: 0, failed: 0, skipped: 0 };

function report(name, { passed, failed, skipped }, start) {
  count.passed += passed;
  count.failed += failed;
  count.skipped += skipped;
  const result = [`${passed} passed`, failed && `${failed} failed`, skipped && `${skipped} skipped`].filter(Boolean).join(', ');
  console.log(`${failed > 0 ? 'FAILED' : 'ok'}  ${name}: ${result} (${elapsed(start)})`);
}

async function runCheck(check) {
  const start = performance.now();
  const { code, output } = await run(process.execPath, check.arguments);
  if (code !== 0) console.log(output.trimEnd());
  report(check.name, { passed: code === 0 ? 1 : 0, failed: code === 0 ? 0 : 1, skipped: 0 }, start);
}

/** Builds a program of C++ tests by a step of setup, and runs it. */
async function runNativeTests(name, step, program) {
  const start = performance.now();
  const built = await run(process.execPath, [join('scripts', 'setup.mjs'), step], { inherit: true });
  if (built.code !== 0) return report(name, { passed: 0, failed: 1, skipped: 0 }, start);
  const { code, output } = await run(join(root, 'build', 'Release', program), ['--no-colors=true']);
  const summary = output.match(/test cases:\s*\d+ \|\s*(\d+) passed \|\s*(\d+) failed \|\s*(\d+) skipped/);
  const [passed = 0, failed = 0, skipped = 0] = summary?.slice(1).map(Number) ?? [];
  if (code !== 0) console.log(output.trimEnd());
  // A crash leaves no summary, and no crash may pass for a success.
  report(name, { passed, failed: code !== 0 ? Math.max(failed, 1) : failed, skipped }, start);
}

/** The kernels as C++ on an emulated device, and as machine code where there is the compiler for it. */
async function checkKernels() {
  if (process.platform === 'linux') await runNativeTests('CUDA kernels, emulated', 'kernel-tests', 'kw_cuda_kernel_tests');
  else console.log('not run  CUDA kernels, emulated: the emulator needs Linux');
  if (findNvcc()) await runCheck({ name: 'CUDA kernels, machine code', arguments: [join('scripts', 'check-cubins.mjs')] });
  else console.log('not run  CUDA kernels, machine code: nvcc was not found');
}

/** The plug-in over the emulated GPU, which `kernel-tests` builds: the TypeScript tests open it as the device 'cuda' where no real one was chosen. */
const emulatedPlugin = join(root, 'build', 'Release', 'libkw_cuda_emulated.so');

/** Runs AVA and reads its TAP; a failed test's lines are printed when they come. */
async function runTypeScriptTests(files, { name = 'TypeScript tests', env = {} } = {}) {
  const start = performance.now();
  const found = { passed: 0, failed: 0, skipped: 0 };
  let isInFailure = false;
  const onLine = (line) => {
    const isResult = /^(not )?ok \d+/.test(line);
    const isExpected = / # (SKIP|TODO)/.test(line);
    if (isResult && isExpected) found.skipped += 1;
    else if (isResult) found[line.startsWith('ok') ? 'passed' : 'failed'] += 1;
    if (isResult) isInFailure = line.startsWith('not ok') && !isExpected;
    if (isInFailure) console.log(line);
  };
  if (existsSync(emulatedPlugin)) process.env.KW_CUDA_PLUGIN ??= emulatedPlugin;
  const ava = join('node_modules', 'ava', 'entrypoints', 'cli.mjs');
  const { code, output } = await run(process.execPath, [ava, '--tap', ...files], { onLine, env });
  if (code !== 0 && found.failed === 0) {
    console.log(output.trimEnd());
    found.failed = 1;
  }
  report(name, found, start);
}

/** Ops and whole training steps with instruction sets that this processor has but would not choose; says what else there is. */
async function runInstructionSets() {
  const { bfloat16Instructions, cpuReport } = await import('../dist/lib/runtime/cpu_report.js');
  const { kernels: own, oneDnn } = cpuReport();
  const hasBfloat16 = bfloat16Instructions() !== undefined;
  const files = ['test/properties/operations.test.ts', 'test/train/bfloat16.test.ts'].map(compiledTest);
  const sets = ['baseline', 'avx2', 'avx512', 'amx'];
  const lower = sets.slice(0, sets.indexOf(own)).map((set) => ({ set, env: { KW_CPU_ISA: set } }));
  if (hasBfloat16) lower.push({ set: 'avx512 without bfloat16', env: { ONEDNN_MAX_CPU_ISA: 'AVX512_CORE' } });
  for (const { set, env } of lower.reverse()) {
    // Without a GPU, real or emulated: it has been tested.
    await runTypeScriptTests(files, {
      name: `TypeScript tests on ${set}`,
      env: { ...env, KW_CUDA_PLUGIN: join(root, 'build', 'no plug-in') },
    });
  }
  const native = `${own} with oneDNN's ${oneDnn} (everything)${lower.length > 0 ? `; ${lower.map(({ set }) => set).join(', ')} (ops, training steps)` : ''}`;
  const missing = [...sets.slice(sets.indexOf(own) + 1), ...(hasBfloat16 ? [] : ["oneDNN's bfloat16"])];
  console.log(`instruction sets run natively: ${native}`);
  console.log(`instruction sets emulated: ${own === 'amx' ? 'none' : 'amx (mixing on matrix tiles, in the C++ tests)'}`);
  console.log(
    `instruction sets not run: ${missing.length > 0 ? `${missing.join(', ')}, which this processor lacks or KW_CPU_ISA forbids` : 'none'}`,
  );
}

function compiledTest(path) {
  return path.startsWith('test/') ? join('dist', path.replace(/\.ts$/, '.js')) : path;
}

const files = process.argv.slice(2);
const { code } = await run(process.execPath, [join('scripts', 'setup.mjs')], { inherit: true });
if (code !== 0) {
  report('setup', { passed: 0, failed: 1, skipped: 0 }, 0);
} else if (files.length > 0) {
  await runTypeScriptTests(files.map(compiledTest));
} else {
  for (const check of listChecks()) await runCheck(check);
  await runNativeTests('C++ tests', 'native-tests', 'kw_native_tests');
  await checkKernels();
  await runTypeScriptTests([]);
  await runInstructionSets();
}
if (count.skipped > 0) console.log(`${count.skipped} skipped`);
console.log(`${count.passed} passed, ${count.failed} failed`);
process.exitCode = count.failed > 0 || count.passed === 0 ? 1 : 0;
