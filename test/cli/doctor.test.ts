import { cpSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { kernelWarehouse, makeFolder } from './program.js';

test('doctor finds a working CPU backend and says what it is made of', async (t) => {
  const { code, stdout, stderr } = await kernelWarehouse(['doctor', '--json'], { env: { KW_NUM_THREADS: '1' } });
  t.is(stderr, '');
  t.is(code, 0);
  const report = JSON.parse(stdout) as {
    readonly node: string;
    readonly native: { readonly path: string; readonly abiVersion: number };
    readonly cpu: { readonly works: boolean; readonly threads: number };
    readonly environment: Readonly<Record<string, string>>;
  };
  t.is(report.node, process.version);
  t.regex(report.native.path, /\.node$/);
  t.is(report.native.abiVersion, 3);
  t.like(report.cpu, { works: true, threads: 1 });
  t.is(report.environment.KW_NUM_THREADS, '1');
});

test('a KW_NUM_THREADS that is no number of threads is an error that says so', async (t) => {
  const { code, stdout } = await kernelWarehouse(['doctor', '--json'], { env: { KW_NUM_THREADS: 'many' } });
  t.is(code, 1);
  const { cpu } = JSON.parse(stdout) as { readonly cpu: { readonly works: boolean; readonly problem: string } };
  t.false(cpu.works);
  t.is(cpu.problem, "KW_NUM_THREADS must be a whole number from 1 to 1024, not 'many'; unset it to use the physical cores");
});

test('KW_CPU_ISA limits the instruction sets, and must be one of them', async (t) => {
  const { stdout } = await kernelWarehouse(['doctor', '--json'], { env: { KW_CPU_ISA: 'baseline' } });
  t.like(JSON.parse(stdout), { instructionSets: { kernels: 'baseline', oneDnn: 'sse41' }, cpu: { works: true } });
  const wrong = await kernelWarehouse(['doctor', '--json'], { env: { KW_CPU_ISA: 'avx10' } });
  t.is(wrong.code, 1);
  t.like(JSON.parse(wrong.stdout), {
    cpu: {
      works: false,
      problem:
        "KW_CPU_ISA must be baseline, avx2, avx512 or amx (the most that this package's own kernels use), not 'avx10'; " +
        'unset it to let the processor decide',
    },
  });
});

test('for people: one fact a line', async (t) => {
  const { code, stdout } = await kernelWarehouse(['doctor']);
  t.is(code, 0);
  t.regex(stdout, /^CPU backend +works, \d+ threads$/m);
  t.regex(stdout, /^bfloat16 +(native, (amx|avx512)_bf16|computed in float32, which saves memory but no time)$/m);
  t.regex(stdout, /^kernels +(baseline|avx2|avx512|amx), oneDNN \w+$/m);
  t.regex(stdout, /^CUDA plug-in +\S*libkw_cuda\.so/m);
});

test('without the native part: every place tried, what to do, and exit status 1', async (t) => {
  const { path, remove } = makeFolder();
  t.teardown(remove);
  const root = fileURLToPath(new URL('../../../', import.meta.url));
  cpSync(join(root, 'dist', 'lib'), join(path, 'dist', 'lib'), { recursive: true });
  cpSync(join(root, 'package.json'), join(path, 'package.json'));
  symlinkSync(join(root, 'node_modules'), join(path, 'node_modules'));
  const program = join(path, 'dist', 'lib', 'cli', 'main.js');
  const { code, stdout } = await kernelWarehouse(['doctor'], { program });
  t.is(code, 1);
  t.regex(stdout, /^native library +not loaded$/m);
  t.regex(stdout, /^CPU backend +does not work: /m);
  t.true(stdout.includes(join('build', 'Release', 'kernel_warehouse.node')), stdout);
  t.regex(stdout, /npm run build/);
});
