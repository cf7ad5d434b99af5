/** The first two parts of the GPU check: building for the GPU of this machine, and opening it. */
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { lastLines } from './execute.mjs';
import { findTool, listGpus, toolVersions } from './machine.mjs';

/** What CMake is asked to build: the add-on, the plug-in, and the tests of kernels. */
export const targets = ['kernel_warehouse', 'kw_cuda', 'kw_cuda_device_tests'];

/** The architecture of compute capability `9.0` as CMake names it; undefined, which takes the package's own choice, where there is no GPU. */
export function architecture(gpus) {
  const [gpu] = gpus;
  return gpu && /^\d+\.\d$/.test(gpu.compute_cap) ? gpu.compute_cap.replace('.', '') : undefined;
}

/** Arguments of CMake for a build in `folder` without npm's own tools: Node's headers and what a bare machine lacks come from the package. */
export function configureArguments(folder, { arch, generator }) {
  const headers = ['node-api-headers/include', 'node-addon-api'].map((path) => join(folder, 'node_modules', path));
  const thirdParty = join(folder, 'third_party');
  const given = { KW_CUDNN_INCLUDE: 'cudnn', KW_CUBLAS_INCLUDE: 'cublas' };
  const libraries = Object.entries(given)
    .map(([variable, name]) => [variable, join(thirdParty, 'include', name)])
    .filter(([, path]) => existsSync(path));
  return [
    ...['-S', folder, '-B', join(folder, 'build')],
    ...(generator ? ['-G', generator] : []),
    '-DCMAKE_BUILD_TYPE=Release',
    `-DCMAKE_LIBRARY_OUTPUT_DIRECTORY=${join(folder, 'build', 'Release')}`,
    `-DCMAKE_JS_INC=${headers.join(';')}`,
    `-DCMAKE_PREFIX_PATH=${thirdParty}`,
    ...libraries.map(([variable, path]) => `-D${variable}=${path}`),
    ...(arch ? [`-DCMAKE_CUDA_ARCHITECTURES=${arch}`] : []),
  ];
}

/** @returns {import('./runner.mjs').Part} */
export function buildPart(folder) {
  return {
    name: 'build',
    title: 'builds the add-on, the CUDA plug-in and the tests of kernels for the GPU of this machine',
    limitSeconds: 470,
    required: true,
    resumes: true,
    async run({ execute }) {
      const nvcc = findTool('nvcc');
      if (!nvcc) {
        return {
          passed: false,
          problems: ['nvcc was not found on PATH, in CUDA_HOME, CUDA_PATH or /usr/local/cuda: install the CUDA toolkit'],
        };
      }
      const gpus = await listGpus(execute);
      const arch = architecture(gpus);
      const generator = findTool('ninja') ? 'Ninja' : undefined;
      const env = { CUDACXX: nvcc };
      const configured = await execute('cmake', configureArguments(folder, { arch, generator }), { env });
      if (configured.code !== 0) return { passed: false, problems: [lastLines(configured.output, 20)] };
      const jobs = String(availableParallelism());
      const built = await execute('cmake', ['--build', join(folder, 'build'), '--parallel', jobs, '--target', ...targets], { env });
      const figures = {
        architecture: arch ?? "the package's own choice, since there is no GPU",
        gpus,
        versions: await toolVersions(execute),
      };
      return { passed: built.code === 0, problems: built.code === 0 ? [] : [lastLines(built.output, 40)], figures };
    },
  };
}

/** Opens the GPU in a process of its own, and prints what it is. */
const openDevice = `
const { Device } = await import(process.argv[1]);
const device = Device.open('cuda');
console.log(device.description);
device.dispose();
`;

/** @returns {import('./runner.mjs').Part} */
export function devicePart(folder) {
  return {
    name: 'device',
    title: 'opens the GPU and asks what there is',
    limitSeconds: 120,
    required: true,
    async run({ execute }) {
      const module = join(folder, 'dist', 'lib', 'runtime', 'device.js');
      const opened = await execute(process.execPath, ['--input-type=module', '--eval', openDevice, module]);
      const doctor = await execute(process.execPath, [join(folder, 'dist', 'lib', 'cli', 'main.js'), 'doctor', '--json']);
      const figures = { gpus: await listGpus(execute), versions: await toolVersions(execute), doctor: parsed(doctor.output) };
      if (opened.code !== 0) {
        const reason = opened.output.match(/^KernelWarehouseError[^:]*: (.*)/m)?.[1] ?? lastLines(opened.output, 10);
        return { passed: false, problems: [`The package is built, but there is no GPU that it can use: ${reason}`], figures };
      }
      return { passed: true, counts: [opened.output.trim()], figures };
    },
  };
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
