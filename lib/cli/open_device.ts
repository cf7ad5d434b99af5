/** The device of a command that computes: `--device` and `--threads`. */
import { availableCores, Device, type DeviceOptions } from '../runtime/device.js';
import type { DeviceFlags } from './arguments.js';

/** Opens it; says on standard error when its threads have to share cores. */
export function openDevice({ device: name, threads, tf32 }: DeviceFlags & Pick<DeviceOptions, 'tf32'>): Device {
  const device = Device.open(name, { ...(threads === undefined ? {} : { threads }), ...(tf32 === undefined ? {} : { tf32 }) });
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
