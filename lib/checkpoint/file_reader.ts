/** A file that is read in parts, at any position. */
import { type FileHandle, open, stat } from 'node:fs/promises';
import { asCheckpointError, failureOf } from './failure.js';

const READ_CHUNK_BYTES = 64 * 1024 * 1024;

/** An open file of known size. Every problem is an ERR_KW_CHECKPOINT that names it. */
export class FileReader {
  readonly path: string;
  /** Size in bytes when it was opened. */
  readonly size: number;
  readonly #file: FileHandle;

  private constructor(path: string, size: number, file: FileHandle) {
    this.path = path;
    this.size = size;
    this.#file = file;
  }

  static async open(path: string): Promise<FileReader> {
    let file: FileHandle | undefined;
    try {
      // Checked before opening, because opening a pipe would wait for a writer.
      if (!(await stat(path)).isFile()) failureOf(path)('not a file');
      file = await open(path, 'r');
      return new FileReader(path, (await file.stat()).size, file);
    } catch (error) {
      await file?.close();
      throw asCheckpointError(path, 'cannot be read', error);
    }
  }

  /** Fills `target` with the bytes from `position` on. */
  async fill(target: Uint8Array, position: number): Promise<void> {
    let done = 0;
    while (done < target.length) {
      const length = Math.min(READ_CHUNK_BYTES, target.length - done);
      const { bytesRead } = await this.#read(target, done, length, position + done);
      if (bytesRead === 0) failureOf(this.path)(`cut short: it ends at byte ${position + done}`);
      done += bytesRead;
    }
  }

  /** The bytes from `position` on, fewer than `length` where the file ends. */
  async take(position: number, length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(Math.max(0, Math.min(length, this.size - position)));
    await this.fill(bytes, position);
    return bytes;
  }

  async #read(target: Uint8Array, offset: number, length: number, position: number): Promise<{ readonly bytesRead: number }> {
    try {
      return await this.#file.read(target, offset, length, position);
    } catch (error) {
      throw asCheckpointError(this.path, 'cannot be read', error);
    }
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}
