/** A device: one stream of native work, its buffers and its programs. */
import { existsSync } from 'node:fs';
import { KernelWarehouseError } from '../errors.js';
import type { Plan } from '../plan/plan.js';
import { DeviceBuffer } from './buffer.js';
import { missingLibraries, parseCudaReport } from './cuda_report.js';
import { callNative, callNativeAsync, loadNative, type NativeAddon, type NativeDevice } from './native.js';
import { Program } from './program.js';

/** Other names are those of plug-ins: `libkw_NAME.so` beside the add-on, or the file in the environment variable KW_NAME_PLUGIN. */
export type DeviceName = 'auto' | 'cpu' | 'cuda' | (string & {});

export interface DeviceOptions {
  /** Threads of the device, 1 to 1024. Default: KW_NUM_THREADS, else OMP_NUM_THREADS, else the physical cores this process may use. */
  readonly threads?: number;
  /** Which GPU, from 0. Default 0. 'cuda' only. */
  readonly index?: number;
  /** Whether float32 products may be rounded to TF32, which is faster and has 10 bits of mantissa. Default false. 'cuda' only. */
  readonly tf32?: boolean;
}

export interface DeviceMemory {
  /** Live buffers. */
  readonly buffers: number;
  /** Bytes of the buffers and of the programs' workspaces and scratch areas. */
  readonly bytes: number;
  /** Live programs. */
  readonly programs: number;
  /** Bytes of a GPU's memory in use, by all processes; 0 on 'cpu'. */
  readonly used: number;
  /** Bytes of a GPU's memory; 0 on 'cpu'. */
  readonly total: number;
}

/** Physical cores that this process may use, at least 1. Throws ERR_KW_NATIVE_MISSING. */
export function availableCores(): number {
  return loadNative().availableCores;
}

/**
 * Work is queued on the device's own thread and done in order. Calls return at once; results are promises. A disposed device is freed once
 * its queued work, buffers and programs are gone. Disposing twice is allowed.
 *
 * @example
 * using device = Device.open('cpu', { threads: 2 });
 * using x = device.allocate(1024);
 * await x.write(new Float32Array(256));
 */
export class Device implements Disposable {
  readonly name: string;
  /** How many threads the backend's kernels use. */
  readonly threads: number;
  /** What it is, such as 'NVIDIA H100 80GB HBM3'. */
  readonly description: string;
  /** Whether its work runs beside this processor, so that it pays to queue a step before the previous one is done. */
  readonly isAsynchronous: boolean;
  #native: NativeDevice | undefined;

  private constructor(native: NativeDevice) {
    this.#native = native;
    this.name = native.name;
    this.threads = native.threads;
    this.description = native.description;
    this.isAsynchronous = native.isAsynchronous;
  }

  /**
   * Opens a device. 'auto' takes the device in the environment variable KW_DEVICE; without it, the GPU if the CUDA plug-in is installed and
   * works, otherwise the CPU. If the plug-in is there but does not work, a warning (code KW_CUDA_FALLBACK) says why, once. A GPU without
   * cuDNN or cuBLASLt uses the package's own kernels, and one warning (code KW_CUDNN_MISSING) says what is missing. Each call opens a
   * device of its own, with its own thread.
   *
   * Throws ERR_KW_INVALID_ARGUMENT (unknown name or option, threads or KW_NUM_THREADS out of range), ERR_KW_CUDA_UNAVAILABLE ('cuda' asked
   * for: no plug-in, no driver, no such GPU; the message lists what was tried), ERR_KW_NATIVE_MISSING.
   */
  static open(name: DeviceName = 'auto', options: DeviceOptions = {}): Device {
    checkOptions(options);
    const chosen = chooseDevice(name);
    if (chosen !== 'auto') return Device.#open(chosen, options);
    const reason = whyNoPlugin();
    if (reason === undefined) {
      try {
        return Device.#open('cuda', options);
      } catch (error) {
        if (!(error instanceof KernelWarehouseError) || error.code !== 'ERR_KW_CUDA_UNAVAILABLE') throw error;
        warnOfFallback(error.message);
      }
    }
    return Device.#open('cpu', options);
  }

  static #open(name: string, { threads = 0, index = 0, tf32 = false }: DeviceOptions): Device {
    const addon = loadNative();
    try {
      const device = new Device(callNative(() => new addon.Device(name, threads, index, tf32)));
      if (name === 'cuda') warnOfMissingLibraries(addon);
      return device;
    } catch (error) {
      if (name !== 'cuda' || !(error instanceof KernelWarehouseError) || error.code !== 'ERR_KW_UNSUPPORTED') throw error;
      const reason = whyNoPlugin() ?? error.message;
      const message = `The device 'cuda' is not available: ${reason}. Use 'cpu', or 'auto', which takes what is there; \`kernel-warehouse doctor\` shows what was found.`;
      throw new KernelWarehouseError('ERR_KW_CUDA_UNAVAILABLE', message, { cause: error });
    }
  }

  /**
   * Memory on this device: `bytes` zeros, 64-byte aligned.
   * Throws ERR_KW_OUT_OF_MEMORY, ERR_KW_INVALID_ARGUMENT (not an integer from 0), ERR_KW_DISPOSED.
   */
  allocate(bytes: number): DeviceBuffer {
    const native = this.#live();
    if (!Number.isSafeInteger(bytes) || bytes < 0) invalid(`bytes must be an integer from 0, not ${bytes}`);
    const addon = loadNative();
    return new DeviceBuffer(
      callNative(() => new addon.Buffer(native, bytes)),
      this,
      bytes,
    );
  }

  /**
   * The caller's memory as a buffer: `bytes` bytes at `address`, a multiple of 4; host memory on 'cpu', memory of that GPU on 'cuda'. It
   * must live until the buffer is disposed and the work queued before that is done (`await device.synchronize()`). Whoever writes to it by
   * other means calls `changed` on the buffer afterwards. A wrong address crashes the process, because nothing can check it. Throws
   * ERR_KW_INVALID_ARGUMENT (0 or not a multiple of 4), ERR_KW_DISPOSED.
   */
  wrap(address: bigint, bytes: number): DeviceBuffer {
    const native = this.#live();
    if (typeof address !== 'bigint') invalid(`address must be a bigint, not ${typeof address}`);
    if (!Number.isSafeInteger(bytes) || bytes < 0) invalid(`bytes must be an integer from 0, not ${bytes}`);
    const addon = loadNative();
    return new DeviceBuffer(
      callNative(() => new addon.Buffer(native, bytes, address)),
      this,
      bytes,
    );
  }

  /**
   * The cudaStream_t on which a GPU's work is queued, for other native code; 0n on 'cpu'. Work reaches it from the device's own thread:
   * `await device.synchronize()` before you queue work there that depends on it.
   */
  get stream(): bigint {
    return this.#live().stream;
  }

  /**
   * Prepares a kernel for each step of the plan and allocates its workspace. Takes a moment: prepare once, run often.
   * Throws ERR_KW_INVALID_PLAN, ERR_KW_UNSUPPORTED (an op that this device lacks), ERR_KW_OUT_OF_MEMORY, ERR_KW_DISPOSED.
   */
  prepare(plan: Plan): Program {
    const native = this.#live();
    const addon = loadNative();
    return new Program(
      callNative(() => new addon.Program(native, JSON.stringify(plan) ?? '')),
      this,
      plan,
    );
  }

  /** Resolves when everything queued so far is done, whether it failed or not. */
  synchronize(): Promise<void> {
    return callNativeAsync(() => this.#live().synchronize());
  }

  /** Live objects. A disposed object counts until the work queued before has finished. */
  memory(): DeviceMemory {
    const native = this.#live();
    return callNative(() => native.memory());
  }

  get disposed(): boolean {
    return this.#native === undefined;
  }

  dispose(): void {
    this.#native?.release();
    this.#native = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #live(): NativeDevice {
    if (this.#native === undefined) throw new KernelWarehouseError('ERR_KW_DISPOSED', `The device '${this.name}' was disposed`);
    return this.#native;
  }
}

function checkOptions(options: DeviceOptions): void {
  const unknown = Object.keys(options).filter((key) => !['threads', 'index', 'tf32'].includes(key));
  if (unknown.length > 0) invalid(`Device.open has no option '${unknown[0]}'; it has 'threads', 'index' and 'tf32'`);
  const { threads, index, tf32 } = options;
  if (threads !== undefined && !(Number.isInteger(threads) && threads >= 1 && threads <= 1024)) {
    invalid(`threads must be an integer from 1 to 1024, not ${threads}`);
  }
  if (index !== undefined && !(Number.isInteger(index) && index >= 0 && index < 1024)) {
    invalid(`index must be an integer from 0, not ${index}`);
  }
  if (tf32 !== undefined && typeof tf32 !== 'boolean') invalid(`tf32 must be true or false, not ${tf32}`);
}

/** Whether there may be a device with this name: one of ours, or an installed plug-in. */
export function isDeviceName(name: string): boolean {
  if (['auto', 'cpu', 'cuda'].includes(name)) return true;
  return /^[a-z][a-z0-9_]*$/.test(name) && existsSync(loadNative().pluginPath(name));
}

function chooseDevice(name: string): DeviceName {
  if (!isDeviceName(name)) invalid(`There is no device '${name}'; choose auto, cpu, cuda, or a plug-in that is installed`);
  const wanted = process.env.KW_DEVICE;
  if (name !== 'auto' || wanted === undefined || wanted === '') return name;
  if (!isDeviceName(wanted)) {
    invalid(`The environment variable KW_DEVICE is '${wanted}'; choose auto, cpu, cuda, or a plug-in that is installed`);
  }
  return wanted;
}

/** Why there is no CUDA plug-in; undefined when its file is there. */
function whyNoPlugin(): string | undefined {
  const path = loadNative().pluginPath('cuda');
  return existsSync(path) ? undefined : `this installation has no CUDA plug-in (${path} does not exist)`;
}

let warned = false;

function warnOfFallback(message: string): void {
  if (warned) return;
  warned = true;
  process.emitWarning(`Computing on the CPU. ${message}`, { code: 'KW_CUDA_FALLBACK' });
}

let hasLookedForLibraries = false;

function warnOfMissingLibraries(addon: Pick<NativeAddon, 'pluginReport'>): void {
  if (hasLookedForLibraries) return;
  hasLookedForLibraries = true;
  const missing = missingLibraries(parseCudaReport(addon.pluginReport('cuda')));
  if (missing === '') return;
  process.emitWarning(`Computing with the package's own kernels where a library would be faster. ${missing}`, { code: 'KW_CUDNN_MISSING' });
}

function invalid(message: string): never {
  throw new KernelWarehouseError('ERR_KW_INVALID_ARGUMENT', message);
}
