/** One test body, every device: a test that needs a device runs on all that are present. */
import type { ExecutionContext, TestFn } from 'ava';
import { KernelWarehouseError } from '../lib/errors.js';
import { Device } from '../lib/runtime/device.js';

export type NativeDeviceName = 'cpu' | 'cuda';

/** The CPU, which is always there, and CUDA where it opens. */
export function devicesPresent(): NativeDeviceName[] {
  try {
    Device.open('cuda').dispose();
    return ['cpu', 'cuda'];
  } catch (error) {
    if (error instanceof KernelWarehouseError && error.code === 'ERR_KW_CUDA_UNAVAILABLE') return ['cpu'];
    throw error;
  }
}

/** Registers `title` once for each device present. */
export function eachDevice(test: TestFn, title: string, body: (t: ExecutionContext, device: NativeDeviceName) => Promise<void>): void {
  for (const device of devicesPresent()) test(`${title} on ${device}`, (t) => body(t, device));
}
