/** The program that memory.ts starts: prepares one network, runs it twice, and writes how much the resident memory grew, as JSON. */
import { readFileSync, writeFileSync } from 'node:fs';
import { KernelWarehouseError } from '../errors.js';
import { Device } from '../runtime/device.js';
import { networkContestant } from './contestant.js';
import type { MemoryFigures, MemoryQuestion } from './memory.js';

/** Bytes: the peak of the resident size since the last reset or, where the system cannot reset it, since the start. */
function residentPeak(): number {
  try {
    const kibibytes = /^VmHWM:\s*(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
    if (kibibytes !== undefined) return 1024 * Number(kibibytes);
  } catch {
    // not Linux
  }
  return 1024 * process.resourceUsage().maxRSS;
}

/**
 * Frees what filling in the weights left behind, and resets the peak of the resident size to the present size. A system that cannot do so
 * keeps the old peak.
 */
function settle(): void {
  globalThis.gc?.();
  try {
    writeFileSync('/proc/self/clear_refs', '5');
  } catch {
    // not Linux, or not allowed here
  }
}

async function measure({ network, device: name, options }: MemoryQuestion): Promise<MemoryFigures> {
  using device = Device.open(name, options);
  settle();
  const peak = device.name === 'cpu' ? residentPeak : () => device.memory().used;
  const before = peak();
  using contestant = await networkContestant(device, network);
  settle();
  for (let run = 0; run < 2; run++) await contestant.run();
  return { planned: contestant.bytes, measured: Math.max(0, peak() - before) };
}

try {
  process.stdout.write(JSON.stringify(await measure(JSON.parse(process.argv[2] ?? '') as MemoryQuestion)));
} catch (error) {
  const code = error instanceof KernelWarehouseError ? `${error.code}: ` : '';
  process.stderr.write(`${code}${(error as Error).message}\n`);
  process.exitCode = 1;
}
