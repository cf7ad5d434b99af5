/** Memory of a device. */
import { KernelWarehouseError } from '../errors.js';
import type { Device } from './device.js';
import { callNative, callNativeAsync, type NativeBuffer } from './native.js';

/**
 * Made by `Device.allocate` and `Device.wrap`. Reads and writes are queued with the device's other work and done in order. A buffer may be
 * disposed at any time and more than once: queued work still finishes.
 */
export class DeviceBuffer implements Disposable {
  readonly device: Device;
  readonly bytes: number;
  #native: NativeBuffer | undefined;

  /** @internal Use `Device.allocate` or `Device.wrap`. */
  constructor(native: NativeBuffer, device: Device, bytes: number) {
    this.#native = native;
    this.device = device;
    this.bytes = bytes;
  }

  /**
   * The address of the memory, for other native code in this process: a host address on 'cpu', a device pointer of that GPU on 'cuda'. It
   * is valid until `dispose`, and safe to use only while no work on it is queued (`await device.synchronize()`).
   */
  get address(): bigint {
    const native = this.native;
    return callNative(() => native.address);
  }

  /**
   * Queues a copy of `view`'s bytes to `byteOffset`. The bytes are read during the call, so `view` may change right after. Rejects with
   * ERR_KW_INVALID_ARGUMENT if they do not fit, ERR_KW_OUT_OF_MEMORY, ERR_KW_DISPOSED.
   */
  write(view: ArrayBufferView, byteOffset = 0): Promise<void> {
    return callNativeAsync(() => {
      const { native } = this;
      const source = bytesOf(view);
      this.#checkRange(byteOffset, source.byteLength);
      return native.write(source, byteOffset);
    });
  }

  /**
   * Queues a copy of `byteLength` bytes from `byteOffset` on (default: all from there). Resolves to new memory. Rejects with
   * ERR_KW_INVALID_ARGUMENT if the range is outside, ERR_KW_DISPOSED.
   */
  read(byteOffset = 0, byteLength = this.bytes - byteOffset): Promise<ArrayBuffer> {
    return callNativeAsync(() => {
      const { native } = this;
      this.#checkRange(byteOffset, byteLength);
      return native.read(byteOffset, byteLength);
    });
  }

  /** Queues the zeroing of all bytes. */
  fill(): Promise<void> {
    return callNativeAsync(() => this.native.fillZero());
  }

  /** Call this after other code has written to the memory: kernels then refresh the copies that they keep of it, before the next run. */
  changed(): void {
    this.native.changed();
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

  /** @internal The native object; throws ERR_KW_DISPOSED. */
  get native(): NativeBuffer {
    if (this.#native === undefined) throw new KernelWarehouseError('ERR_KW_DISPOSED', `The buffer of ${this.bytes} bytes was disposed`);
    return this.#native;
  }

  #checkRange(byteOffset: number, byteLength: number): void {
    const whole = Number.isSafeInteger(byteOffset) && Number.isSafeInteger(byteLength);
    if (!whole || byteOffset < 0 || byteLength < 0 || byteOffset + byteLength > this.bytes) {
      invalid(`${byteLength} bytes at offset ${byteOffset} are outside the buffer, which has ${this.bytes} bytes`);
    }
  }
}

function bytesOf(view: ArrayBufferView): Uint8Array {
  if (!ArrayBuffer.isView(view)) invalid(`write takes a typed array or DataView, not ${typeof view}`);
  try {
    return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  } catch {
    return invalid('The memory of the view to write was transferred elsewhere');
  }
}

function invalid(message: string): never {
  throw new KernelWarehouseError('ERR_KW_INVALID_ARGUMENT', message);
}
