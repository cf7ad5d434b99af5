/** What doctor makes of the CUDA plug-in's report; native/cuda/libraries/describe.cc writes real ones, and test/native/cuda_libraries checks them. */
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { adviseFromPython, cudaFields, describeAttempts } from '../../lib/cli/doctor_cuda.js';
import { type CudaExamination, type CudaReport, examineCuda, parseCudaReport } from '../../lib/runtime/cuda_report.js';
import { makeFolder } from './program.js';

const wheels = '/home/me/venv/lib/python3.12/site-packages/nvidia';

function library(name: string, soname: string, path: string, version: string): CudaReport['libraries'][number] {
  const attempts = [
    { origin: 'loaded already', path: soname, problem: 'not loaded' },
    { origin: 'VIRTUAL_ENV', path: path === '' ? `${wheels}/*/lib/${soname}` : path, problem: path === '' ? 'not there' : '' },
  ];
  const problem = path === '' ? `${name} was not found (${soname}). Install it.` : '';
  return { name, soname, path, version, isUsed: true, problem, attempts };
}

const complete: CudaReport = {
  driver: { ...library('The NVIDIA driver', 'libcuda.so.1', '/usr/lib/x86_64-linux-gnu/libcuda.so.1', '13.0'), release: '580.95.05' },
  devices: [
    { name: 'NVIDIA H100 80GB HBM3', memory: 84_929_871_872, computeCapability: '9.0' },
    { name: 'Tesla T4', memory: 15_828_320_256, computeCapability: '7.5' },
  ],
  problem: '',
  libraries: [
    library('cuDNN', 'libcudnn.so.9', `${wheels}/cudnn/lib/libcudnn.so.9`, '9.24.0'),
    library('cuBLASLt', 'libcublasLt.so.13', `${wheels}/cu13/lib/libcublasLt.so.13`, '13.1.1'),
    library('NVRTC', 'libnvrtc.so.13', `${wheels}/cu13/lib/libnvrtc.so.13`, '13.0'),
  ],
};

const missing: CudaReport = {
  driver: { ...library('The NVIDIA driver', 'libcuda.so.1', '', ''), release: '' },
  devices: [],
  problem: 'The NVIDIA driver was not found (libcuda.so.1). Install it.',
  libraries: [library('cuDNN', 'libcudnn.so.9', '', ''), library('cuBLASLt', 'libcublasLt.so.13', '', '')],
};

const examination = (report: CudaReport): CudaExamination => ({ path: '/p/libkw_cuda.so', problem: undefined, report });

test('a machine with everything: driver, devices, libraries with their versions and paths', (t) => {
  t.deepEqual(cudaFields(examination(complete)), {
    'CUDA plug-in': '/p/libkw_cuda.so',
    'CUDA driver': '580.95.05, serves CUDA 13.0, /usr/lib/x86_64-linux-gnu/libcuda.so.1',
    'GPU 0': 'NVIDIA H100 80GB HBM3, 79.1 GiB, compute capability 9.0',
    'GPU 1': 'Tesla T4, 14.7 GiB, compute capability 7.5, too old: 8.0 is needed',
    cuDNN: `9.24.0, ${wheels}/cudnn/lib/libcudnn.so.9`,
    cuBLASLt: `13.1.1, ${wheels}/cu13/lib/libcublasLt.so.13`,
    NVRTC: `13.0, ${wheels}/cu13/lib/libnvrtc.so.13`,
  });
  t.is(describeAttempts(examination(complete)), '');
});

test('a machine with nothing: the reason of each, and every place tried', (t) => {
  t.deepEqual(cudaFields(examination(missing)), {
    'CUDA plug-in': '/p/libkw_cuda.so',
    'CUDA driver': 'The NVIDIA driver was not found (libcuda.so.1). Install it.',
    cuDNN: 'cuDNN was not found (libcudnn.so.9). Install it.',
    cuBLASLt: 'cuBLASLt was not found (libcublasLt.so.13). Install it.',
  });
  const lines = describeAttempts(examination(missing)).split('\n');
  t.deepEqual(lines.slice(4, 8), [
    '',
    'libcudnn.so.9 was looked for in these places:',
    '  loaded already  libcudnn.so.9: not loaded',
    `  VIRTUAL_ENV     ${wheels}/*/lib/libcudnn.so.9: not there`,
  ]);
  t.is(lines.filter((line) => line.endsWith('was looked for in these places:')).length, 3);
});

test('a driver without a device, and a library that the plug-in was built without', (t) => {
  const [cudnn, ...others] = complete.libraries;
  const report = {
    ...complete,
    devices: [],
    problem: 'cuInit fails with CUDA_ERROR_NO_DEVICE (100)',
    libraries: [{ ...(cudnn as CudaReport['libraries'][number]), isUsed: false }, ...others],
  };
  const fields = cudaFields(examination(report));
  t.is(fields.GPU, 'cuInit fails with CUDA_ERROR_NO_DEVICE (100)');
  t.is(fields['CUDA driver'], '580.95.05, serves CUDA 13.0, /usr/lib/x86_64-linux-gnu/libcuda.so.1');
  t.is(fields.cuDNN, `9.24.0, ${wheels}/cudnn/lib/libcudnn.so.9; not used: the plug-in was built without its headers`);
});

test('the plug-in: beside the add-on, missing, not to be opened, of another version', (t) => {
  const { path: folder, remove } = makeFolder();
  t.teardown(remove);
  const plugin = join(folder, 'libkw_cuda.so');
  const addon = (pluginReport: () => string) => ({ pluginPath: () => plugin, pluginReport });
  const field = (...parameters: Parameters<typeof examineCuda>) => cudaFields(examineCuda(...parameters))['CUDA plug-in'];
  t.is(field(undefined), 'the native library, next to which it would be, is not loaded');
  const remedy = 'does not exist; it is built from a checkout with `npm run build` where nvcc 13 is found';
  t.is(field(addon(() => t.fail() as never)), `${plugin}: ${remedy}`);
  writeFileSync(plugin, '');
  const failing = () => {
    throw new Error('file too short');
  };
  t.is(field(addon(failing)), `${plugin}: file too short`);
  const strange = '{"driver": 1}';
  t.is(field(addon(() => strange)), `${plugin}: ${t.throws(() => parseCudaReport(strange)).message}`);
  const { report, ...rest } = examineCuda(addon(() => JSON.stringify(complete)));
  t.deepEqual(rest, { path: plugin, problem: undefined });
  t.deepEqual(report, complete);
});

test('a report that is none is refused with what is wrong', (t) => {
  const expected = { code: 'ERR_KW_INTERNAL' };
  t.regex(t.throws(() => parseCudaReport('no JSON'), expected).message, /^The CUDA plug-in's report is not of this version: .*JSON/);
  t.regex(t.throws(() => parseCudaReport(JSON.stringify({ ...complete, devices: 3 })), expected).message, /expected array.*devices/);
});

test.serial('a library that only Python finds: the variable to set', async (t) => {
  const { path: folder, remove } = makeFolder();
  const path = process.env.PATH;
  t.teardown(() => {
    process.env.PATH = path;
    remove();
  });
  const lib = join(folder, 'nvidia', 'cudnn', 'lib');
  mkdirSync(lib, { recursive: true });
  writeFileSync(join(lib, 'libcudnn.so.9'), '');
  const python = join(folder, 'python3');
  writeFileSync(python, `#!/bin/sh\necho /nowhere/lib\necho ${lib}\n`);
  chmodSync(python, 0o755);
  process.env.PATH = `${folder}:${path}`;
  t.deepEqual(await adviseFromPython(examination(missing)), [`python3 has cuDNN: set KW_CUDNN_PATH=${lib} to use it.`]);
  t.deepEqual(await adviseFromPython(examination(complete)), []);
  const refused = missing.libraries.map((entry) => ({
    ...entry,
    attempts: [{ origin: 'python3 on PATH', path: join(lib, entry.soname), problem: 'it is built for CUDA 12' }],
  }));
  t.deepEqual(await adviseFromPython(examination({ ...missing, libraries: refused })), []);
  writeFileSync(python, '#!/bin/sh\nexit 1\n');
  t.deepEqual(await adviseFromPython(examination(missing)), []);
});
