/** How much memory a network takes. It is measured in a process of its own, because one process could not tell several networks apart. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { KernelWarehouseError } from '../errors.js';
import type { DeviceName, DeviceOptions } from '../runtime/device.js';
import type { NetworkCase } from './contestant.js';

export interface MemoryFigures {
  /** Bytes that the plan and its kernels ask for. */
  readonly planned: number;
  /**
   * Bytes by which the resident memory of the process grew, from before the network was made to the peak of its runs. On a GPU, the GPU
   * memory in use after its runs, by all processes.
   */
  readonly measured: number;
}

/** What the process is given, as JSON; see memory_probe.ts. */
export interface MemoryQuestion {
  readonly network: NetworkCase;
  readonly device: DeviceName;
  readonly options: DeviceOptions;
}

/** The C library returns large blocks to the system when they are freed, instead of keeping tens of MB for the next one. */
const givenBack = { MALLOC_MMAP_THRESHOLD_: String(2 ** 20), MALLOC_TRIM_THRESHOLD_: String(2 ** 20) };

/**
 * Prepares and runs the network in a process of its own, and returns its figures. Throws ERR_KW_OUT_OF_MEMORY when the process was refused
 * memory or killed for it, the signal's reason when that comes first, and ERR_KW_INTERNAL, with the output of the process, for anything
 * else.
 */
export async function measureMemory(question: MemoryQuestion, signal?: AbortSignal): Promise<MemoryFigures> {
  const probe = fileURLToPath(new URL('./memory_probe.js', import.meta.url));
  const child = spawn(process.execPath, ['--expose-gc', probe, JSON.stringify(question)], {
    env: { ...process.env, ...givenBack },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const kill = (): void => void child.kill('SIGKILL');
  signal?.addEventListener('abort', kill, { once: true });
  let answer = '';
  let complaint = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    answer += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaint += text;
  });
  const { code, killed } = await new Promise<{ code: number | null; killed: NodeJS.Signals | null }>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status, by) => resolve({ code: status, killed: by }));
  });
  signal?.removeEventListener('abort', kill);
  signal?.throwIfAborted();
  if (code === 0) return JSON.parse(answer) as MemoryFigures;
  const { name, batch } = question.network;
  if (killed === 'SIGKILL' || complaint.includes('ERR_KW_OUT_OF_MEMORY')) {
    const reason = killed ? 'the system ended its process for want of memory' : complaint.trim();
    throw new KernelWarehouseError('ERR_KW_OUT_OF_MEMORY', `${name}, batch ${batch}: ${reason}`);
  }
  const end = killed === null ? `exit status ${code}` : `signal ${killed}`;
  throw new KernelWarehouseError(
    'ERR_KW_INTERNAL',
    `measuring the memory of ${name}, batch ${batch}: the process ended with ${end}: ${complaint.trim()}`,
  );
}
