/** A device: one stream of native work, its buffers and its programs. */
import { KernelWarehouseError } from '../errors.js';
import type { Plan } from '../plan/plan.js';
import { DeviceBuffer } from './buffer.js';
import { callNative, callNativeAsync, loadNative, type NativeDevice } from './native.js';
import { Program } from './program.js';

export type DeviceName = 'auto' | 'cpu' | 'cuda';

export interface DeviceOptions {
  /** Threads of the device, 1 to 1024. Default: KW_NUM_THREADS, else OMP_NUM_THREADS, else the physical cores this process may use. */
  readonly threads?: number;
}

export interface DeviceMemory {
  /** Buffers that live. */
  readonly buffers: number;
  /** Bytes of the buffers and of the programs' workspaces and scratch areas. */
  readonly bytes: number;
  /** Programs that live. */
  readonly programs: number;
}

/** Physical cores that this process may use, at least 1. Throws ERR_KW_NATIVE_MISSING. */
export function availableCores(): number {
  return loadNative().availableCores;
}

const names: readonly string[] = ['auto', 'cpu', 'cuda'];

/**
 * Work is queued on the device's own thread and done in order; calls return at once, results are promises.
 * Disposing frees the device once its queued work and its buffers and programs are done with it; disposing twice is allowed.
 *
 * @example
 * using device = Device.open('cpu', { threads: 2 });
 * using x = device.allocate(1024);
 * await x.write(new Float32Array(256));
 */
export class Device implements Disposable {
  readonly name: string;
  /** What the backend's kernels use. */
  readonly threads: number;
  #native: NativeDevice | undefined;

  private constructor(native: NativeDevice) {
    this.#native = native;
    this.name = native.name;
    this.threads = native.threads;
  }

  /**
   * Opens a device. 'auto' takes the one that the environment variable KW_DEVICE names, else 'cpu'.
   * Each call opens a device of its own, with its own thread.
   *
   * Throws ERR_KW_INVALID_ARGUMENT (unknown name or option, threads or KW_NUM_THREADS out of range), ERR_KW_CUDA_UNAVAILABLE,
   * ERR_KW_NATIVE_MISSING.
   */
  static open(name: DeviceName = 'auto', options: DeviceOptions = {}): Device {
    const unknown = Object.keys(options).filter((key) => key !== 'threads');
    if (unknown.length > 0) invalid(`Device.open has no option '${unknown[0]}'; it has 'threads'`);
    const { threads } = options;
    if (threads !== undefined && !(Number.isInteger(threads) && threads >= 1 && threads <= 1024)) {
      invalid(`threads must be an integer from 1 to 1024, not ${threads}`);
    }
    const chosen = chooseDevice(name);
    if (chosen === 'cuda') {
      throw new KernelWarehouseError(
        'ERR_KW_CUDA_UNAVAILABLE',
        "This build of kernel-warehouse has no CUDA plug-in. Use the device 'cpu', or 'auto', which takes what is there.",
      );
    }
    const addon = loadNative();
    return new Device(callNative(() => new addon.Device(chosen, threads ?? 0)));
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

  /** Fulfilled when everything queued so far is done, whether it failed or not. */
  synchronize(): Promise<void> {
    return callNativeAsync(() => this.#live().synchronize());
  }

  /** What lives now. What was disposed counts until the work queued before has finished. */
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

function chooseDevice(name: string): string {
  if (!names.includes(name)) invalid(`There is no device '${name}'; choose ${names.join(', ')}`);
  const wanted = process.env.KW_DEVICE;
  if (name !== 'auto' || wanted === undefined || wanted === '' || wanted === 'auto') return name === 'auto' ? 'cpu' : name;
  if (!names.includes(wanted)) invalid(`The environment variable KW_DEVICE is '${wanted}'; choose ${names.join(', ')}`);
  return wanted;
}

function invalid(message: string): never {
  throw new KernelWarehouseError('ERR_KW_INVALID_ARGUMENT', message);
}
