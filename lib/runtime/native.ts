/** The only file that knows the native add-on: it finds it, loads it once, and describes its whole interface. */
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type ErrorCode, KernelWarehouseError } from '../errors.js';

/** One stream: a native thread that does queued work in order. `native/node/addon.cc` implements these interfaces. */
export interface NativeDevice {
  readonly name: string;
  readonly threads: number;
  readonly description: string;
  /** Whether its work runs beside this processor. */
  readonly isAsynchronous: boolean;
  /** The cudaStream_t of a GPU; 0n on other devices. */
  readonly stream: bigint;
  memory(): { buffers: number; bytes: number; programs: number; used: number; total: number };
  synchronize(): Promise<void>;
  release(): void;
}

export interface NativeBuffer {
  readonly address: bigint;
  /** Copies `source` during the call. */
  write(source: Uint8Array, byteOffset: number): Promise<void>;
  read(byteOffset: number, byteLength: number): Promise<ArrayBuffer>;
  fillZero(): Promise<void>;
  changed(): void;
  release(): void;
}

export interface NativeProgram {
  bind(name: string, buffer: NativeBuffer): void;
  run(): Promise<void>;
  /** The same, but every step is timed. */
  runTimed(): Promise<void>;
  memory(): { workspace: number; scratch: number; prepared: number };
  /** Nanoseconds of each step of the plan in the last finished run; on a GPU, in the last finished timed run. */
  stepTimes(): Float64Array;
  release(): void;
}

/** The whole native interface. The classes of this folder check arguments; the native side does not check them again. */
export interface NativeAddon {
  readonly abiVersion: number;
  /** Physical cores that this process may use. */
  readonly availableCores: number;
  /**
   * The instruction sets from which the CPU's kernels are chosen, as JSON. Throws ERR_KW_INVALID_ARGUMENT if KW_CPU_ISA names none of them.
   */
  cpuReport(): string;
  /** Every op that a plan may have. */
  readonly opNames: readonly string[];
  /** Where a plug-in is looked for, whether or not it is there. */
  pluginPath(name: string): string;
  /** What a plug-in found on this machine, as JSON for `parseCudaReport`. Throws ERR_KW_UNSUPPORTED if there is none that fits. */
  pluginReport(name: string): string;
  /** `threads` 0: the default. */
  readonly Device: new (
    name: string,
    threads: number,
    index: number,
    tf32: boolean,
  ) => NativeDevice;
  /** With an `address`, the caller's memory. */
  readonly Buffer: new (
    device: NativeDevice,
    bytes: number,
    address?: bigint,
  ) => NativeBuffer;
  readonly Program: new (device: NativeDevice, plan: string) => NativeProgram;
  /** Cancels all queued work of this environment and waits for running steps. */
  close(): void;
}

const ABI_VERSION = 3;
const require = createRequire(import.meta.url);
let loaded: NativeAddon | undefined;

/** The add-on; throws ERR_KW_NATIVE_MISSING, which names every place tried and what to do. */
export function loadNative(): NativeAddon {
  if (!loaded) {
    const addon = loadFrom(packageRoot());
    // process.exit() runs no native clean-up, but it does free memory that oneDNN's running code needs.
    process.once('exit', () => addon.close());
    loaded = addon;
  }
  return loaded;
}

/** The folder of this package's package.json: the sources run from lib/, the compiled files from dist/lib/. */
function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  for (;;) {
    const file = join(folder, 'package.json');
    if (existsSync(file) && JSON.parse(readFileSync(file, 'utf8')).name === 'kernel-warehouse') return folder;
    const parent = dirname(folder);
    if (parent === folder) return dirname(fileURLToPath(import.meta.url));
    folder = parent;
  }
}

/**
 * Loads the add-on of the package in `root`: its own build if there is one, even a broken one, otherwise the prebuilt binary for this
 * platform.
 */
export function loadFrom(root: string): NativeAddon {
  const failures: string[] = [];
  const built = join(root, 'build', 'Release', 'kernel_warehouse.node');
  let path = built;
  try {
    if (!existsSync(built)) {
      failures.push(`${built}: does not exist`);
      path = join(root, 'prebuilds');
      path = (require('node-gyp-build') as { resolve(root: string): string }).resolve(root);
    }
    const addon = withShortSpin(() => require(path) as NativeAddon);
    if (addon.abiVersion === ABI_VERSION) return addon;
    failures.push(`${path}: has interface version ${addon.abiVersion}, this package needs ${ABI_VERSION}`);
  } catch (error) {
    failures.push(`${path}: ${error instanceof Error ? error.message.split('\n')[0] : error}`);
  }
  const remedy = failures.some((failure) => failure.includes('libdnnl'))
    ? 'Install oneDNN (Debian, Ubuntu: apt install libdnnl2; newer releases: libdnnl3) or build from a checkout with `npm run build`.'
    : 'In a checkout run `npm run build` (it needs g++, cmake, libdnnl-dev and nlohmann-json3-dev).';
  throw new KernelWarehouseError(
    'ERR_KW_NATIVE_MISSING',
    `The native part of kernel-warehouse does not load on ${process.platform}-${process.arch}, Node ${process.version}. Tried:\n` +
      `${failures.map((failure) => `  ${failure}`).join('\n')}\n${remedy}`,
  );
}

/**
 * How long a compute thread looks for work before it sleeps; microseconds, where OpenMP's default is milliseconds. A program whose steps
 * have many small parallel parts is as fast with it on an idle machine, and several times faster where another process takes one of the
 * cores.
 */
const SPIN_COUNT = '1000';

/** Loads a library. It reads OpenMP's settings once, when it is loaded; the user's own settings are kept. */
function withShortSpin<T>(load: () => T): T {
  if (process.env.GOMP_SPINCOUNT !== undefined || process.env.OMP_WAIT_POLICY !== undefined) return load();
  process.env.GOMP_SPINCOUNT = SPIN_COUNT;
  try {
    return load();
  } finally {
    // Not for processes that the user's program starts.
    delete process.env.GOMP_SPINCOUNT;
  }
}

/** Calls native code; what it throws becomes a KernelWarehouseError with the same code and message. */
export function callNative<T>(body: () => T): T {
  try {
    return body();
  } catch (error) {
    throw toKernelWarehouseError(error);
  }
}

/**
 * The same for a promise. Native code rejects from its own thread, without a JavaScript stack; the error gets the stack of the call. What
 * is wrong before anything is queued rejects too: an asynchronous method never throws.
 */
export function callNativeAsync<T>(body: () => Promise<T>): Promise<T> {
  const site = new Error();
  const rethrow = (error: unknown): never => {
    const failure = toKernelWarehouseError(error);
    failure.stack = `${failure.name}: ${failure.message}${site.stack?.slice(site.stack.indexOf('\n')) ?? ''}`;
    throw failure;
  };
  try {
    return body().catch(rethrow);
  } catch (error) {
    return Promise.reject(toKernelWarehouseError(error));
  }
}

function toKernelWarehouseError(error: unknown): KernelWarehouseError {
  if (error instanceof KernelWarehouseError) return error;
  if (!(error instanceof Error)) return new KernelWarehouseError('ERR_KW_INTERNAL', String(error));
  const code = 'code' in error && typeof error.code === 'string' && error.code.startsWith('ERR_KW_') ? error.code : 'ERR_KW_INTERNAL';
  return new KernelWarehouseError(code as ErrorCode, error.message);
}
