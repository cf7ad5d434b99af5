/** The safetensors format: eight bytes of header length (little-endian), a JSON header, the tensors' bytes. */
import { writeFileAtomically, writeFully } from './atomic_file.js';
import type { CheckpointFile, TensorEntry } from './checkpoint_file.js';
import { asCheckpointError, failureOf } from './failure.js';
import { FileReader } from './file_reader.js';
import { MAXIMUM_HEADER_BYTES, parseSafetensorsHeader, type SafetensorsEntry, type SafetensorsHeader } from './safetensors_header.js';
import { bytesOf, describeMismatch, elementCount, newBuffer, STORED_ARRAYS, type StoredTensor } from './stored_tensor.js';

const DATA_ALIGNMENT = 8;

/**
 * An open safetensors file. Only the header is in memory; each tensor is read when asked for, straight into its own array.
 * Close it, or declare it with `await using`. Every problem is an ERR_KW_CHECKPOINT that names the file and, where it can, the tensor.
 */
export class SafetensorsFile implements CheckpointFile {
  readonly format = 'safetensors';
  readonly path: string;
  readonly #reader: FileReader;
  readonly #header: SafetensorsHeader;
  readonly #dataStart: number;

  private constructor(reader: FileReader, header: SafetensorsHeader, dataStart: number) {
    this.path = reader.path;
    this.#reader = reader;
    this.#header = header;
    this.#dataStart = dataStart;
  }

  /** Opens a file, reads its header and checks it completely: types, shapes, offsets, that tensors fill the file without overlap. */
  static async open(path: string): Promise<SafetensorsFile> {
    const reader = await FileReader.open(path);
    try {
      return await SafetensorsFile.from(reader);
    } catch (error) {
      await reader.close();
      throw error;
    }
  }

  /** Like `open`. Closing the file closes the reader; if this fails, the reader stays open. */
  static async from(reader: FileReader): Promise<SafetensorsFile> {
    const { size } = reader;
    const fail = failureOf(reader.path);
    if (size < 8) fail(`too short for a safetensors file: ${size} bytes`);
    const prefix = await reader.take(0, 8);
    const headerBytes = new DataView(prefix.buffer).getBigUint64(0, true);
    if (headerBytes > BigInt(MAXIMUM_HEADER_BYTES)) {
      fail(
        `not a safetensors file: its first 8 bytes give a header of ${headerBytes} bytes, more than the ${MAXIMUM_HEADER_BYTES} allowed`,
      );
    }
    const dataStart = 8 + Number(headerBytes);
    if (dataStart > size) fail(`cut short: the header should have ${headerBytes} bytes, the file has only ${size}`);
    const header = parseSafetensorsHeader(await reader.take(8, Number(headerBytes)), size - dataStart, fail);
    return new SafetensorsFile(reader, header, dataStart);
  }

  /** The tensors' names, in the order of their data. */
  get names(): string[] {
    return [...this.#header.entries.keys()];
  }

  /** The strings of `__metadata__`. */
  get metadata(): Readonly<Record<string, string>> {
    return this.#header.metadata;
  }

  has(name: string): boolean {
    return this.#header.entries.has(name);
  }

  /** Type, shape and place of a tensor, without reading it. */
  entry(name: string): SafetensorsEntry {
    return this.#header.entries.get(name) ?? failureOf(this.path)('no such tensor in the file', name);
  }

  /** Reads one tensor into a new array. */
  async read(name: string): Promise<StoredTensor> {
    const { type, shape, begin, end } = this.entry(name);
    const buffer = newBuffer(end - begin, name, failureOf(this.path));
    await this.#reader.fill(new Uint8Array(buffer), this.#dataStart + begin);
    return { type, shape, data: new STORED_ARRAYS[type](buffer) };
  }

  async close(): Promise<void> {
    await this.#reader.close();
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
 * Writes tensors, in their order, and metadata as safetensors. The file at `path` is replaced only when the new one is complete and on
 * disk. Throws ERR_KW_CHECKPOINT if type, shape and array of a tensor do not agree, or the file cannot be written.
 */
export async function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, StoredTensor>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  for (const [name, tensor] of tensors) {
    const mismatch = describeMismatch(tensor);
    if (mismatch !== undefined) failureOf(path)(mismatch, name);
  }
  await streamSafetensors(path, tensors, async (name) => tensors.get(name) as StoredTensor, metadata);
}

/** Like `writeSafetensors`, but each tensor is read only when it is written. `read` must return what `entries` says. */
export async function streamSafetensors(
  path: string,
  entries: ReadonlyMap<string, TensorEntry>,
  read: (name: string) => Promise<StoredTensor>,
  metadata: Readonly<Record<string, string>>,
): Promise<void> {
  const header = encodeHeader(path, entries, metadata);
  try {
    await writeFileAtomically(path, async (file) => {
      await writeFully(file, header);
      for (const name of entries.keys()) await writeFully(file, bytesOf((await read(name)).data));
    });
  } catch (error) {
    throw asCheckpointError(path, 'cannot be written', error);
  }
}

function encodeHeader(path: string, entries: ReadonlyMap<string, TensorEntry>, metadata: Readonly<Record<string, string>>): Uint8Array {
  const fail = failureOf(path);
  // Joined by hand, because an object would move names that look like numbers to the front.
  const parts: string[] = [];
  if (Object.keys(metadata).length > 0) parts.push(`"__metadata__":${JSON.stringify(metadata)}`);
  let offset = 0;
  for (const [name, { type, shape }] of entries) {
    if (name === '__metadata__') fail('this name is reserved', name);
    if (/\p{Surrogate}/u.test(name)) fail('its name is not valid Unicode text', name);
    const end = offset + (elementCount(shape) as number) * STORED_ARRAYS[type].BYTES_PER_ELEMENT;
    parts.push(`${JSON.stringify(name)}:${JSON.stringify({ dtype: type, shape, data_offsets: [offset, end] })}`);
    offset = end;
  }
  const json = Buffer.from(`{${parts.join(',')}}`, 'utf8');
  // Padded with spaces so that the data begins at a multiple of 8 bytes, as other readers map it into memory.
  const headerBytes = Math.ceil(json.length / DATA_ALIGNMENT) * DATA_ALIGNMENT;
  if (headerBytes > MAXIMUM_HEADER_BYTES) fail(`the header would have ${headerBytes} bytes, more than the ${MAXIMUM_HEADER_BYTES} allowed`);
  const header = Buffer.alloc(8 + headerBytes, ' ');
  header.writeBigUInt64LE(BigInt(headerBytes));
  json.copy(header, 8);
  return header;
}
