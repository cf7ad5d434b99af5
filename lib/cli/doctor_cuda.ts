/** What `kernel-warehouse doctor` prints about the GPU. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { CudaExamination, CudaLibrary, CudaReport } from '../runtime/cuda_report.js';
import { formatBytes } from './figures.js';

/** The oldest GPUs for which the plug-in has machine code. */
const LEAST_CAPABILITY = 8;

/** Names and values for `formatFields`. */
export function cudaFields({ path, problem, report }: CudaExamination): Record<string, string> {
  const plugin = path === undefined ? (problem ?? '') : problem === undefined ? path : `${path}: ${problem}`;
  if (!report) return { 'CUDA plug-in': plugin };
  const { driver, devices, libraries } = report;
  return {
    'CUDA plug-in': plugin,
    'CUDA driver': driver.problem || `${driver.release || 'release unknown'}, serves CUDA ${driver.version}, ${driver.path}`,
    ...(devices.length === 0 && !driver.problem ? { GPU: report.problem } : {}),
    ...Object.fromEntries(devices.map((device, i) => [`GPU ${i}`, describeDevice(device)])),
    ...Object.fromEntries(libraries.map((library) => [library.name, describeLibrary(library)])),
  };
}

function describeDevice({ name, memory, computeCapability }: CudaReport['devices'][number]): string {
  const age = Number(computeCapability) < LEAST_CAPABILITY ? `, too old: ${LEAST_CAPABILITY}.0 is needed` : '';
  return `${name}, ${formatBytes(memory)}, compute capability ${computeCapability}${age}`;
}

function describeLibrary({ version, path, problem, isUsed }: CudaLibrary): string {
  const use = isUsed ? '' : '; not used: the plug-in was built without its headers';
  return `${problem || `${version}, ${path}`}${use}`;
}

/** Every place that was tried for each library that is not open; empty if all are. */
export function describeAttempts({ report }: CudaExamination): string {
  if (!report) return '';
  const missing = [report.driver, ...report.libraries].filter(({ problem, attempts }) => problem && attempts.length > 0);
  const width = Math.max(0, ...missing.flatMap(({ attempts }) => attempts.map(({ origin }) => origin.length)));
  return missing
    .map(({ soname, attempts }) => {
      const lines = attempts.map(
        ({ origin, path, problem }) => `  ${origin.padEnd(width)}  ${problem.startsWith(path) ? problem : `${path}: ${problem}`}`,
      );
      return `\n${soname} was looked for in these places:\n${lines.join('\n')}`;
    })
    .join('\n');
}

/** The variables that name a library's folder. */
const pathVariables: Readonly<Record<string, string>> = { 'libcudnn.so.9': 'KW_CUDNN_PATH', 'libcublasLt.so.13': 'KW_CUBLAS_PATH' };

/**
 * Advice about libraries that are missing although `python3` could import them. Python knows places that our search does not (PYTHONPATH,
 * .pth files, version managers). May take a few seconds; does nothing if no library is missing.
 */
export async function adviseFromPython({ report }: CudaExamination): Promise<readonly string[]> {
  const missing = (report?.libraries ?? []).filter(({ soname, path }) => path === '' && pathVariables[soname]);
  if (missing.length === 0) return [];
  const packages = await listNvidiaPackages();
  return missing.flatMap(({ name, soname, attempts }) => {
    const folder = packages.find((candidate) => existsSync(join(candidate, soname)));
    if (folder === undefined || attempts.some(({ path }) => path === join(folder, soname))) return [];
    return [`python3 has ${name}: set ${pathVariables[soname]}=${folder} to use it.`];
  });
}

/** The `lib` folders of NVIDIA's wheels, wherever python3 finds them; empty without python3 or wheels. */
async function listNvidiaPackages(): Promise<string[]> {
  const program = 'import glob, nvidia; print("\\n".join(lib for path in nvidia.__path__ for lib in glob.glob(path + "/*/lib")))';
  try {
    const { stdout } = await promisify(execFile)('python3', ['-c', program], { timeout: 10_000 });
    return stdout.split('\n').filter(Boolean);
  } catch {
    return [];
  }
}
