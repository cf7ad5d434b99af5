import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { type FileHandle, open, readdir, realpath, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

const WRITE_CHUNK_BYTES = 64 * 1024 * 1024;
const STALE_AFTER_MILLISECONDS = 60 * 60 * 1000;

const unfinished = new Set<string>();
let removalAtExit = false; // one listener for all writers

/** Writes all bytes at the file's current position, in pieces that the operating system accepts. */
export async function writeFully(file: FileHandle, bytes: Uint8Array): Promise<void> {
  let start = 0;
  while (start < bytes.length) {
    const { bytesWritten } = await file.write(bytes, start, Math.min(WRITE_CHUNK_BYTES, bytes.length - start), null);
    start += bytesWritten;
  }
}

/**
 * Replaces the file at `path` by what `write` writes, or leaves it as it was. The bytes go to a temporary file in the same folder, are
 * forced to disk, and then take the name in one step. If anything goes wrong (a full disk, an error in `write`, process.exit), the old file
 * stays and the temporary one is removed. A killed process leaves its temporary file behind; a later write of the same name removes it. A
 * link at `path` is followed. Several writers at once each write a whole file, and the last to finish wins. Errors are passed on as they
 * are.
 */
export async function writeFileAtomically(path: string, write: (file: FileHandle) => Promise<void>): Promise<void> {
  const target = await realpath(path).catch(() => path);
  const folder = dirname(target);
  const prefix = `.${basename(target)}.`;
  await removeStale(folder, prefix);
  const temporary = join(folder, `${prefix}${randomBytes(8).toString('hex')}.tmp`);
  if (!removalAtExit) process.on('exit', () => unfinished.forEach((path) => rmSync(path, { force: true })));
  removalAtExit = true;
  unfinished.add(temporary);
  try {
    const file = await open(temporary, 'wx');
    try {
      await write(file);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, target);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw error;
  } finally {
    unfinished.delete(temporary);
  }
  await syncFolder(folder);
}

/** Makes the new name survive a power cut. Folders cannot be opened on Windows, and some file systems cannot sync them. */
async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return;
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code !== 'EINVAL' && code !== 'ENOTSUP') throw error;
  } finally {
    await handle.close();
  }
}

async function removeStale(folder: string, prefix: string): Promise<void> {
  const names = await readdir(folder).catch(() => []);
  for (const name of names) {
    if (!name.startsWith(prefix) || !/^[0-9a-f]{16}\.tmp$/.test(name.slice(prefix.length))) continue;
    const path = join(folder, name);
    // A live writer keeps the time of its file fresh. Unlike process ids, age also works in containers and network folders.
    const information = await stat(path).catch(() => undefined);
    if (information && Date.now() - information.mtimeMs > STALE_AFTER_MILLISECONDS) await rm(path, { force: true }).catch(() => undefined);
  }
}
