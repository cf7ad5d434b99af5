/** The CUDA plug-in's report about the GPU and NVIDIA's libraries, which `native/cuda/libraries/describe.cc` writes. */
import { existsSync } from 'node:fs';
import { z } from 'zod';
import { KernelWarehouseError } from '../errors.js';
import type { NativeAddon } from './native.js';

/** Texts that do not apply are empty. */
const library = z.object({
  name: z.string(),
  soname: z.string(),
  path: z.string(),
  version: z.string(),
  /** False when the plug-in was built without this library's headers. */
  isUsed: z.boolean(),
  /** Why it is not open. */
  problem: z.string(),
  /** Every place that was tried, in order: what led there, the file or pattern of files, and why it was rejected. */
  attempts: z.array(z.object({ origin: z.string(), path: z.string(), problem: z.string() })),
});

const report = z.object({
  /** `version` is the newest CUDA that the driver serves, `release` its own version, such as 580.95.05. */
  driver: library.extend({ release: z.string() }),
  /** `memory` in bytes; `computeCapability` such as 9.0. */
  devices: z.array(z.object({ name: z.string(), memory: z.number(), computeCapability: z.string() })),
  /** Why no device can be used. */
  problem: z.string(),
  libraries: z.array(library),
});

export type CudaLibrary = Readonly<z.infer<typeof library>>;
export type CudaReport = Readonly<z.infer<typeof report>>;

/** @throws {KernelWarehouseError} ERR_KW_INTERNAL when the text is not what this version of the package reads. */
export function parseCudaReport(text: string): CudaReport {
  try {
    return report.parse(JSON.parse(text));
  } catch (error) {
    const problem = error instanceof z.ZodError ? z.prettifyError(error).replace(/\s+/g, ' ') : (error as Error).message;
    throw new KernelWarehouseError('ERR_KW_INTERNAL', `The CUDA plug-in's report is not of this version: ${problem}`, { cause: error });
  }
}

/**
 * A sentence for each missing library that computes faster than the package's own kernels, with what to do; empty if nothing is missing. A
 * library that its path variable forbids does not count, and NVRTC counts only if cuDNN is there, which compiles with it.
 */
export function missingLibraries({ libraries }: CudaReport): string {
  const isOpen = (library: CudaLibrary) => library.isUsed && library.problem === '';
  const hasCudnn = libraries.some((library) => library.name === 'cuDNN' && isOpen(library));
  return libraries
    .filter((library) => !isOpen(library) && (library.name !== 'NVRTC' || hasCudnn))
    .filter((library) => !library.isUsed || library.attempts.length > 0)
    .map(({ name, isUsed, problem }) =>
      isUsed ? problem : `${name} is not used: its headers were missing when the CUDA plug-in was built.`,
    )
    .join(' ');
}

/** The plug-in, if there is one, and its report. */
export interface CudaExamination {
  /** Where it is, or should be; undefined when the add-on itself is not loaded. */
  readonly path: string | undefined;
  /** Why there is no report. */
  readonly problem: string | undefined;
  readonly report: CudaReport | undefined;
}

/** Opens the plug-in and asks for its report; undefined: the add-on is not loaded. Throws nothing. */
export function examineCuda(addon: Pick<NativeAddon, 'pluginPath' | 'pluginReport'> | undefined): CudaExamination {
  if (addon === undefined)
    return { path: undefined, problem: 'the native library, next to which it would be, is not loaded', report: undefined };
  const path = addon.pluginPath('cuda');
  if (!existsSync(path)) {
    const problem = 'does not exist; it is built from a checkout with `npm run build` where nvcc 13 is found';
    return { path, problem, report: undefined };
  }
  try {
    return { path, problem: undefined, report: parseCudaReport(addon.pluginReport('cuda')) };
  } catch (error) {
    return { path, problem: (error as Error).message, report: undefined };
  }
}
