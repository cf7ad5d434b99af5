/** What the machine is that a check ran on: GPU, driver, tools, and the clocks while something was measured. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { release } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { endGroup } from './execute.mjs';

/** The path of a program of the CUDA toolkit: on PATH, else of CUDA_HOME, CUDA_PATH or /usr/local/cuda; undefined where there is none. */
export function findTool(name, env = process.env) {
  const homes = [env.CUDA_HOME, env.CUDA_PATH, '/usr/local/cuda'].filter(Boolean).map((home) => join(home, 'bin'));
  const folders = [...(env.PATH ?? '').split(delimiter).filter(Boolean), ...(env.CUDACXX ? [dirname(env.CUDACXX)] : []), ...homes];
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
}

const gpuFields = [
  'name',
  'driver_version',
  'compute_cap',
  'memory.total',
  'clocks.max.sm',
  'clocks.max.mem',
  'power.limit',
  'mig.mode.current',
];

/** The GPUs as nvidia-smi tells, each an object by the fields' names; empty where there is no GPU or no driver. */
export async function listGpus(execute) {
  const { code, output } = await execute('nvidia-smi', [`--query-gpu=${gpuFields.join(',')}`, '--format=csv,noheader']);
  if (code !== 0) return [];
  const lines = output.split('\n').filter((line) => line.split(', ').length === gpuFields.length);
  return lines.map((line) => Object.fromEntries(line.split(', ').map((value, index) => [gpuFields[index], value.trim()])));
}

/** First lines of what programs say about their version. */
export async function toolVersions(execute) {
  const versions = { node: process.version, system: `${process.platform} ${process.arch} ${release()}` };
  const ask = async (name, program, args, pattern) => {
    const { code, output } = await execute(program, args);
    versions[name] = code === 0 ? (output.match(pattern)?.[0] ?? output.split('\n')[0]) : 'not found';
  };
  await ask('nvcc', findTool('nvcc') ?? 'nvcc', ['--version'], /release [^\n]*/);
  await ask('compiler', process.env.CXX ?? 'c++', ['--version'], /^[^\n]*/);
  await ask('cmake', 'cmake', ['--version'], /[\d.]+/);
  return versions;
}

const clockFields = ['clocks.sm', 'clocks.mem', 'power.draw', 'temperature.gpu'];

/**
 * Reads the GPU's clocks twice a second until the result is called, which gives least, median and greatest of each figure (MHz, W, degrees);
 * undefined where nvidia-smi does not tell.
 */
export function watchClocks(env = process.env) {
  const args = [`--query-gpu=${clockFields.join(',')}`, '--format=csv,noheader,nounits', '--loop-ms=500', '--id=0'];
  const child = spawn('nvidia-smi', args, { env, stdio: ['ignore', 'pipe', 'ignore'], detached: true });
  const rows = [];
  let pending = '';
  child.on('error', () => {});
  child.stdout.setEncoding('utf8').on('data', (text) => {
    const lines = (pending + text).split('\n');
    pending = lines.pop() ?? '';
    for (const line of lines) rows.push(line.split(',').map(Number));
  });
  return () => {
    if (child.pid !== undefined) endGroup(child, 'SIGKILL');
    if (rows.length === 0) return undefined;
    const figures = clockFields.map((field, index) => {
      const sorted = rows
        .map((row) => row[index])
        .filter(Number.isFinite)
        .sort((a, b) => a - b);
      return [field, { least: sorted[0], median: sorted[Math.floor(sorted.length / 2)], greatest: sorted.at(-1) }];
    });
    return Object.fromEntries(figures);
  };
}
