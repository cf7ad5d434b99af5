/** The report of `kernel-warehouse doctor`. */
import { Graph } from '../graph/graph.js';
import { conv2d } from '../graph/ops/conv2d.js';
import { output } from '../graph/ops/copy.js';
import { relu } from '../graph/ops/relu.js';
import { lower } from '../graph/passes/lower.js';
import { bfloat16Instructions, type CpuReport, cpuReport } from '../runtime/cpu_report.js';
import { type CudaExamination, examineCuda } from '../runtime/cuda_report.js';
import { Device } from '../runtime/device.js';
import { describeProcessor, loadedLibraries, loadedOneDnn, type Processor, packageVersion } from '../runtime/machine.js';
import { loadNative } from '../runtime/native.js';
import { adviseFromPython, cudaFields, describeAttempts } from './doctor_cuda.js';
import { RUNTIME_FAILURE } from './failure.js';
import { formatBytes, formatFields } from './figures.js';

interface Report {
  readonly version: string;
  readonly node: string;
  readonly platform: string;
  /** Undefined for other C libraries. */
  readonly glibc: string | undefined;
  readonly processor: Processor;
  /** What decides which kernels run; undefined if the CPU backend does not work. */
  readonly instructionSets: CpuReport | undefined;
  /** The instructions that multiply bfloat16; undefined if float32 ones do it. */
  readonly bfloat16: string | undefined;
  readonly native: { readonly path: string | undefined; readonly abiVersion: number | undefined; readonly oneDnn: string | undefined };
  readonly cpu: { readonly works: boolean; readonly threads: number | undefined; readonly problem: string | undefined };
  readonly cuda: CudaExamination & { readonly advice: readonly string[] };
  readonly images: string;
  /** Environment variables that change what the package does. */
  readonly environment: Readonly<Record<string, string>>;
}

const variables = /^(KW_|DNNL_|ONEDNN_|CUDA_)|^(OMP_NUM_THREADS|UV_THREADPOOL_SIZE|LD_LIBRARY_PATH|VIRTUAL_ENV|CONDA_PREFIX)$/;

/** Prints the report; the exit status tells whether the CPU backend works. */
export async function runDoctor(json: boolean): Promise<void> {
  const report = await examine();
  console.log(json ? JSON.stringify(report, null, 2) : describe(report));
  if (!report.cpu.works) process.exitCode = RUNTIME_FAILURE;
}

async function examine(): Promise<Report> {
  const cpu = await tryCpu();
  const { glibc, paths } = loadedLibraries();
  const native = paths.find((path) => /kernel[-_]warehouse.*\.node$/.test(path));
  const cuda = examineCuda(native === undefined ? undefined : loadNative());
  return {
    version: packageVersion(),
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    glibc,
    processor: describeProcessor(),
    instructionSets: cpu.works ? cpuReport() : undefined,
    bfloat16: cpu.works ? bfloat16Instructions() : undefined,
    native: { path: native, abiVersion: native === undefined ? undefined : loadNative().abiVersion, oneDnn: loadedOneDnn(paths) },
    cpu,
    cuda: { ...cuda, advice: await adviseFromPython(cuda) },
    images: await trySharp(),
    environment: Object.fromEntries(Object.entries(process.env).filter(([name]) => variables.test(name))) as Record<string, string>,
  };
}

/**
 * Runs a convolution of ones over ones on the device; the middle of the result is the number of terms. The CPU is tested whether or not
 * KW_DEVICE is set.
 */
async function tryCpu(): Promise<Report['cpu']> {
  const [size, inChannels, outChannels] = [4, 8, 16];
  try {
    using device = Device.open('cpu');
    const graph = new Graph();
    const x = graph.input('x', [1, size, size, inChannels]);
    const weight = graph.input('weight', [outChannels, 3, 3, inChannels]);
    output('y', relu(conv2d(x, weight, undefined, { stride: [1, 1], padding: [1, 1], dilation: [1, 1], groups: 1 })));
    using program = device.prepare(lower(graph, { name: 'doctor' }));
    const allocate = (elements: number) => device.allocate(4 * elements);
    using images = allocate(size * size * inChannels);
    using weights = allocate(outChannels * 9 * inChannels);
    using y = allocate(size * size * outChannels);
    program.bind({ x: images, weight: weights, y });
    await Promise.all([
      images.write(new Float32Array(images.bytes / 4).fill(1)),
      weights.write(new Float32Array(weights.bytes / 4).fill(1)),
      program.run(),
    ]);
    const values = new Float32Array(await y.read());
    const middle = values[(size + 1) * outChannels];
    const corner = values[0];
    const problem = `a convolution gave ${corner} and ${middle} instead of ${4 * inChannels} and ${9 * inChannels}`;
    const works = corner === 4 * inChannels && middle === 9 * inChannels;
    return { works, threads: device.threads, problem: works ? undefined : `${problem}; please report this with the output of doctor` };
  } catch (error) {
    return { works: false, threads: undefined, problem: (error as Error).message };
  }
}

async function trySharp(): Promise<string> {
  try {
    const { default: sharp } = await import('sharp');
    return `sharp ${sharp.versions.sharp}, libvips ${sharp.versions.vips}`;
  } catch (error) {
    return `sharp does not load (only .npy input works): ${(error as Error).message}`;
  }
}

function describe({
  version,
  node,
  platform,
  glibc,
  processor,
  bfloat16,
  instructionSets,
  native,
  cpu,
  cuda,
  images,
  environment,
}: Report): string {
  const { model, count, instructions, memory } = processor;
  const set = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
  const fields = formatFields({
    'kernel-warehouse': version,
    node: `${node}, ${platform}, ${glibc === undefined ? 'not glibc' : `glibc ${glibc}`}`,
    processor: `${count} x ${model}, ${formatBytes(memory)}`,
    instructions: instructions.join(' ') || 'unknown',
    kernels: instructionSets === undefined ? 'none' : `${instructionSets.kernels}, oneDNN ${instructionSets.oneDnn}`,
    bfloat16: bfloat16 === undefined ? 'computed in float32, which saves memory but no time' : `native, ${bfloat16}`,
    'native library': native.path === undefined ? 'not loaded' : `${native.path}, interface version ${native.abiVersion}`,
    oneDNN: native.oneDnn ?? (native.path === undefined ? 'not loaded' : 'inside the native library'),
    'CPU backend': cpu.works ? `works, ${cpu.threads} threads` : `does not work: ${cpu.problem}`,
    ...cudaFields(cuda),
    images,
    environment: set.join(' ') || 'no variables set',
  });
  return [fields, describeAttempts(cuda), ...cuda.advice].filter(Boolean).join('\n');
}
