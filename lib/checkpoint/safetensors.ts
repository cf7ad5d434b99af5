/** The safetensors format: eight bytes of header length (little-endian), a JSON header, the tensors' bytes. */
import { type FileHandle, open, stat } from 'node:fs/promises';
import { KernelWarehouseError } from '../errors.js';
import { writeFileAtomically, writeFully } from './atomic_file.js';
import { MAXIMUM_HEADER_BYTES, parseSafetensorsHeader, type SafetensorsEntry, type SafetensorsHeader } from './safetensors_header.js';
import { bytesOf, describeMismatch, STORED_ARRAYS, type StoredTensor } from './stored_tensor.js';

const READ_CHUNK_BYTES = 64 * 1024 * 1024;
const DATA_ALIGNMENT = 8;

function fail(path: string, problem: string, tensor?: string, cause?: unknown): never {
  const where = tensor === undefined ? path : `${path}, tensor ${JSON.stringify(tensor)}`;
  throw new KernelWarehouseError('ERR_KW_CHECKPOINT', `${where}: ${problem}`, cause === undefined ? undefined : { cause });
}

/**
 * An open safetensors file. Only the header is in memory; each tensor is read when asked for, straight into its own array.
 * Close it, or declare it with `await using`. Every problem is an ERR_KW_CHECKPOINT that names the file and, where it can, the tensor.
 */
export class SafetensorsFile implements AsyncDisposable {
  readonly path: string;
  private readonly file: FileHandle;
  private readonly header: SafetensorsHeader;
  private readonly dataStart: number;

  private constructor(path: string, file: FileHandle, header: SafetensorsHeader, dataStart: number) {
    this.path = path;
    this.file = file;
    this.header = header;
    this.dataStart = dataStart;
  }

  /** Opens a file, reads its header and checks it completely: types, shapes, offsets, that tensors fill the file without overlap. */
  static async open(path: string): Promise<SafetensorsFile> {
    let file: FileHandle | undefined;
    try {
      // Asked before opening, because opening a pipe would wait for a writer.
      if (!(await stat(path)).isFile()) fail(path, 'not a file');
      file = await open(path, 'r');
      const { size } = await file.stat();
      if (size < 8) fail(path, `too short for a safetensors file: ${size} bytes`);
      const prefix = new Uint8Array(8);
      await readFully(file, prefix, 0, path);
      const headerBytes = new DataView(prefix.buffer).getBigUint64(0, true);
      if (headerBytes > BigInt(MAXIMUM_HEADER_BYTES)) {
        fail(
          path,
          `not a safetensors file: its first 8 bytes give a header of ${headerBytes} bytes, more than the ${MAXIMUM_HEADER_BYTES} allowed`,
        );
      }
      const dataStart = 8 + Number(headerBytes);
      if (dataStart > size) fail(path, `cut short: the header should have ${headerBytes} bytes, the file has only ${size}`);
      const header = new Uint8Array(Number(headerBytes));
      await readFully(file, header, 8, path);
      const parsed = parseSafetensorsHeader(header, size - dataStart, (problem, tensor, cause) => fail(path, problem, tensor, cause));
      return new SafetensorsFile(path, file, parsed, dataStart);
    } catch (error) {
      await file?.close();
      throw asCheckpointError(path, 'cannot be read', error);
    }
  }

  /** The tensors' names, in the order of their data. */
  get names(): string[] {
    return [...this.header.entries.keys()];
  }

  /** The strings of `__metadata__`. */
  get metadata(): Readonly<Record<string, string>> {
    return this.header.metadata;
  }

  has(name: string): boolean {
    return this.header.entries.has(name);
  }

  /** Type, shape and place of a tensor, without reading it. */
  entry(name: string): SafetensorsEntry {
    return this.header.entries.get(name) ?? fail(this.path, 'no such tensor in the file', name);
  }

  /** Reads one tensor into a new array. */
  async read(name: string): Promise<StoredTensor> {
    const { type, shape, begin, end } = this.entry(name);
    let buffer: ArrayBuffer;
    try {
      buffer = new ArrayBuffer(end - begin);
    } catch (error) {
      fail(this.path, `not enough memory for its ${end - begin} bytes`, name, error);
    }
    try {
      await readFully(this.file, new Uint8Array(buffer), this.dataStart + begin, this.path);
    } catch (error) {
      throw asCheckpointError(this.path, `tensor ${JSON.stringify(name)} cannot be read`, error);
    }
    return { type, shape, data: new STORED_ARRAYS[type](buffer) };
  }

  async close(): Promise<void> {
    await this.file.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** Reads all tensors of a safetensors file. */
export async function readSafetensors(
  path: string,
): Promise<{ tensors: Map<string, StoredTensor>; metadata: Readonly<Record<string, string>> }> {
  const file = await SafetensorsFile.open(path);
  try {
    const tensors = new Map<string, StoredTensor>();
    for (const name of file.names) tensors.set(name, await file.read(name));
    return { tensors, metadata: file.metadata };
  } finally {
    await file.close();
  }
}

/**
 * Writes tensors, in their order, and metadata to a safetensors file, which replaces the one at `path` only when it is complete and on disk.
 * Throws ERR_KW_CHECKPOINT when a tensor's type, shape and array do not fit each other or the file cannot be written.
 */
export async function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, StoredTensor>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const header = encodeHeader(path, tensors, metadata);
  try {
    await writeFileAtomically(path, async (file) => {
      await writeFully(file, header);
      for (const tensor of tensors.values()) await writeFully(file, bytesOf(tensor.data));
    });
  } catch (error) {
    throw asCheckpointError(path, 'cannot be written', error);
  }
}

function encodeHeader(path: string, tensors: ReadonlyMap<string, StoredTensor>, metadata: Readonly<Record<string, string>>): Uint8Array {
  // Parts are joined by hand because an object would move names that look like numbers to the front.
  const parts: string[] = [];
  if (Object.keys(metadata).length > 0) parts.push(`"__metadata__":${JSON.stringify(metadata)}`);
  let offset = 0;
  for (const [name, tensor] of tensors) {
    if (name === '__metadata__') fail(path, 'this name is reserved', name);
    if (/\p{Surrogate}/u.test(name)) fail(path, 'its name is not valid Unicode text', name);
    const mismatch = describeMismatch(tensor);
    if (mismatch !== undefined) fail(path, mismatch, name);
    const end = offset + tensor.data.byteLength;
    parts.push(`${JSON.stringify(name)}:${JSON.stringify({ dtype: tensor.type, shape: tensor.shape, data_offsets: [offset, end] })}`);
    offset = end;
  }
  const json = Buffer.from(`{${parts.join(',')}}`, 'utf8');
  // Padded with spaces so that the data begins at a multiple of 8 bytes, as other readers map it into memory.
  const headerBytes = Math.ceil(json.length / DATA_ALIGNMENT) * DATA_ALIGNMENT;
  if (headerBytes > MAXIMUM_HEADER_BYTES)
    fail(path, `the header would have ${headerBytes} bytes, more than the ${MAXIMUM_HEADER_BYTES} allowed`);
  const header = Buffer.alloc(8 + headerBytes, ' ');
  header.writeBigUInt64LE(BigInt(headerBytes));
  json.copy(header, 8);
  return header;
}

async function readFully(file: FileHandle, target: Uint8Array, position: number, path: string): Promise<void> {
  let done = 0;
  while (done < target.length) {
    const { bytesRead } = await file.read(target, done, Math.min(READ_CHUNK_BYTES, target.length - done), position + done);
    if (bytesRead === 0) fail(path, `cut short: it ends at byte ${position + done}`);
    done += bytesRead;
  }
}

function asCheckpointError(path: string, problem: string, error: unknown): KernelWarehouseError {
  if (error instanceof KernelWarehouseError) return error;
  return new KernelWarehouseError('ERR_KW_CHECKPOINT', `${path}: ${problem}: ${(error as Error).message}`, { cause: error });
}
