/** Only one process at a time may write the folder of a run: a file in it names that process. */
import { closeSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, statSync, writeSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { KernelWarehouseError } from '../errors.js';

const NAME = 'train.lock';
const ATTEMPTS = 5;
/** A file without content that is older than this was left by a process that died before it wrote its name. */
const WRITTEN_WITHIN_MILLISECONDS = 5000;

/** Held from construction until it is disposed or the process ends. */
export class FolderLock implements Disposable {
  readonly #path: string;

  /**
   * Makes the folder if it is missing, and takes over the lock of a process on this machine that has ended. Throws ERR_KW_CHECKPOINT,
   * naming the owner, if the folder is in use; ERR_KW_INVALID_ARGUMENT if it cannot be written.
   */
  constructor(folder: string) {
    this.#path = join(folder, NAME);
    try {
      mkdirSync(folder, { recursive: true });
      this.#take(folder);
    } catch (error) {
      if (error instanceof KernelWarehouseError) throw error;
      const problem = `--output: expected a folder that can be written, got ${folder}: ${(error as Error).message}`;
      throw new KernelWarehouseError('ERR_KW_INVALID_ARGUMENT', problem, { cause: error });
    }
    process.once('exit', this.#release);
  }

  #take(folder: string): void {
    for (let attempt = 1; !createLock(this.#path); attempt++) {
      const owner = readOwner(this.#path);
      if (owner && (isAlive(owner) || attempt === ATTEMPTS)) {
        throw new KernelWarehouseError(
          'ERR_KW_CHECKPOINT',
          `${folder} is in use by ${describe(owner)}; wait for it, choose another --output, or remove ${this.#path} if it is gone`,
        );
      }
      if (owner) removeStale(this.#path, owner);
    }
  }

  #release = (): void => rmSync(this.#path, { force: true });

  [Symbol.dispose](): void {
    process.removeListener('exit', this.#release);
    this.#release();
  }
}

interface Owner {
  /** What identifies the file, to recognize it again. */
  readonly text: string;
  readonly pid: number;
  readonly host: string;
  readonly age: number;
}

function createLock(path: string): boolean {
  let file: number;
  try {
    file = openSync(path, 'wx');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
  writeSync(file, `${process.pid} ${hostname()}\n`);
  closeSync(file);
  return true;
}

/** Undefined when the file has gone in the meantime. */
function readOwner(path: string): Owner | undefined {
  try {
    const text = readFileSync(path, 'utf8');
    const [pid = '', host = ''] = text.trim().split(' ');
    return { text, pid: Number.parseInt(pid, 10), host, age: Date.now() - statSync(path).mtimeMs };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function isAlive({ pid, host, age }: Owner): boolean {
  if (!Number.isInteger(pid)) return age < WRITTEN_WITHIN_MILLISECONDS;
  // Process ids mean nothing on another machine, and after a restart of its container this process may have the id that another one had.
  if (host !== hostname()) return true;
  if (pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function describe({ pid, host }: Owner): string {
  return Number.isInteger(pid) ? `process ${pid}${host === hostname() ? '' : ` on ${host}`}` : 'a process that is just starting';
}

/** Moved away before it is removed: of two processes that find the same stale file, only one may continue with it. */
function removeStale(path: string, owner: Owner): void {
  const moved = `${path}.${process.pid}`;
  try {
    renameSync(path, moved);
    // Another process may have taken over the stale lock between reading and moving; then this one has moved the new lock.
    if (readFileSync(moved, 'utf8') !== owner.text) renameSync(moved, path);
    else rmSync(moved);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}
