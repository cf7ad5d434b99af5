/** One test body, every device: a test that needs a device runs on all that are present. */
import type { ExecutionContext, TestFn } from 'ava';
import { KernelWarehouseError } from '../lib/errors.js';
import { Device } from '../lib/runtime/device.js';

export type NativeDeviceName = 'cpu' | 'cuda';

/** What a test computes: whole networks are too much for an emulated GPU (test/native/emulator), a thousand times slower than a real one. */
export type Load = 'light' | 'heavy';

/** What 'cuda' opens: the emulator where the environment variable KW_CUDA_PLUGIN names it, which `npm test` sees to. */
function gpu(): 'none' | 'emulated' | 'real' {
  try {
    using device = Device.open('cuda');
    return device.description === 'Emulated device' ? 'emulated' : 'real';
  } catch (error) {
    if (error instanceof KernelWarehouseError && error.code === 'ERR_KW_CUDA_UNAVAILABLE') return 'none';
    throw error;
  }
}

export const isGpuEmulated = gpu() === 'emulated';

/** The CPU, which is always there, and CUDA where it opens and can bear the load. */
export function devicesPresent(load: Load = 'light'): NativeDeviceName[] {
  const found = gpu();
  return found === 'real' || (found === 'emulated' && load === 'light') ? ['cpu', 'cuda'] : ['cpu'];
}

/** Registers `title` once for each device present that can bear the load. */
export function eachDevice(
  test: TestFn,
  title: string,
  body: (t: ExecutionContext, device: NativeDeviceName) => Promise<void>,
  load: Load = 'light',
): void {
  for (const device of devicesPresent(load)) test(`${title} on ${device}`, (t) => body(t, device));
}
