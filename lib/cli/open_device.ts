/** The device of a command that computes: `--device` and the options with which it is opened. */
import { availableCores, Device, type DeviceOptions } from '../runtime/device.js';
import type { DeviceFlags } from './arguments.js';

/** The flags as options of a device. */
export function deviceOptions({ threads, gpu, tf32 }: DeviceFlags): DeviceOptions {
  return { ...(threads === undefined ? {} : { threads }), ...(gpu === undefined ? {} : { index: gpu }), ...(tf32 ? { tf32 } : {}) };
}

/** Opens the device; notes on standard error if its threads have to share cores. */
export function openDevice(flags: DeviceFlags): Device {
  const { threads } = flags;
  const device = Device.open(flags.device, deviceOptions(flags));
  const cores = availableCores();
  if (device.threads > cores) {
    const source = threads === undefined ? 'KW_NUM_THREADS or OMP_NUM_THREADS' : '--threads';
    process.stderr.write(
      `kernel-warehouse: ${device.threads} threads have to share ${cores} physical core${cores === 1 ? '' : 's'}, which is slower; ` +
        `leave out ${source} to use one for each core\n`,
    );
  }
  return device;
}
