/** Files of `torch.save`: a pickle that refers to ranges of raw bytes. */
import type { CheckpointFile, TensorEntry } from './checkpoint_file.js';
import { type Fail, failureOf, shown } from './failure.js';
import type { FileReader } from './file_reader.js';
import { describeRun, findWeights } from './pth_contents.js';
import { isLegacy, readLegacy } from './pth_legacy.js';
import { gather, newBuffer, STORED_ARRAYS, type StoredTensor } from './stored_tensor.js';
import { type TorchStorage, type TorchTensor, torchWorld } from './torch_values.js';
import { PickleCutShort, type PickleValue, unpickle } from './unpickle.js';
import { readZipDirectory, type ZipEntry } from './zip.js';

export interface PthOptions {
  /** Which weights of a training script's checkpoint: the trained ones (the default), or their moving average. */
  readonly weights?: 'model' | 'model_ema';
}

/** The value of a pickle, and where its storages are in the file. */
export interface PthContents {
  readonly value: PickleValue;
  /** Offset in bytes by storage key. */
  readonly places: ReadonlyMap<string, number>;
}

const ZIP_START = [0x50, 0x4b, 0x03, 0x04];
const PICKLE_NAME = 'data.pkl';
/** The pickle of a network with a thousand layers has a few hundred kilobytes. */
const MAXIMUM_PICKLE_BYTES = 64 * 1024 * 1024;
/**
 * Tensors may share storages, and a few bytes can claim to be a large tensor (with strides of 0). All tensors together may take this many
 * times the size of the file, and a little more for small files.
 */
const MAXIMUM_SHARING = 8;
const SHARING_ALLOWANCE_BYTES = 1024 * 1024;

/**
 * An open file of `torch.save`, in the format since PyTorch 1.6 or the one before. Like `SafetensorsFile`, it reads each tensor on request.
 */
export class PthFile implements CheckpointFile {
  readonly format = 'pth';
  readonly path: string;
  /** `epoch`, and `args` as JSON, if the file has them. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly #reader: FileReader;
  readonly #places: ReadonlyMap<string, number>;
  readonly #tensors: ReadonlyMap<string, TorchTensor>;

  private constructor(reader: FileReader, { value, places }: PthContents, options: PthOptions) {
    const fail = failureOf(reader.path);
    this.path = reader.path;
    this.#reader = reader;
    this.#places = places;
    this.#tensors = findWeights(value, options.weights ?? 'model', fail);
    this.metadata = describeRun(value, fail);
    checkTotal(this.#tensors, reader.size, fail);
  }

  /** Whether this reader handles a file that begins like this. */
  static recognizes(start: Uint8Array): boolean {
    return ZIP_START.every((byte, i) => start[i] === byte) || isLegacy(start);
  }

  /** Reads the pickle, but no tensors. Closing the file closes the reader; if this fails, the reader stays open. */
  static async from(reader: FileReader, options: PthOptions = {}): Promise<PthFile> {
    const fail = failureOf(reader.path);
    const contents = isLegacy(await reader.take(0, 32)) ? await readLegacy(reader, fail) : await readZip(reader, fail);
    return new PthFile(reader, contents, options);
  }

  get names(): string[] {
    return [...this.#tensors.keys()];
  }

  has(name: string): boolean {
    return this.#tensors.has(name);
  }

  entry(name: string): TensorEntry {
    const { type, shape } = this.#tensor(name);
    return { type, shape };
  }

  /** Reads one tensor into a new row-major array, and no more of its storage than the tensor covers. */
  async read(name: string): Promise<StoredTensor> {
    const tensor = this.#tensor(name);
    const { type, shape, strides, count, span } = tensor;
    const fail = failureOf(this.path);
    const size = STORED_ARRAYS[type].BYTES_PER_ELEMENT;
    const position = (this.#places.get(tensor.storage.key) as number) + tensor.offset * size;
    const buffer = newBuffer(count * size, name, fail);
    if (tensor.contiguous) await this.#reader.fill(new Uint8Array(buffer), position);
    else {
      const source = newBuffer(span * size, name, fail);
      await this.#reader.fill(new Uint8Array(source), position);
      gather(source, buffer, size, shape, strides);
    }
    return { type, shape, data: new STORED_ARRAYS[type](buffer) };
  }

  #tensor(name: string): TorchTensor {
    return this.#tensors.get(name) ?? failureOf(this.path)('no such tensor in the file', name);
  }

  async close(): Promise<void> {
    await this.#reader.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

function checkTotal(tensors: ReadonlyMap<string, TorchTensor>, fileBytes: number, fail: Fail): void {
  const limit = MAXIMUM_SHARING * fileBytes + SHARING_ALLOWANCE_BYTES;
  let total = 0;
  for (const { type, count, span } of tensors.values()) total += Math.max(count, span) * STORED_ARRAYS[type].BYTES_PER_ELEMENT;
  if (total > limit) fail(`its tensors claim ${total} bytes, which ${fileBytes} bytes of file cannot honestly hold`);
}

async function readZip(reader: FileReader, fail: Fail): Promise<PthContents> {
  const entries = await readZipDirectory(reader, fail);
  const pickles = [...entries.keys()].filter((name) => name.endsWith(`/${PICKLE_NAME}`) && name.split('/').length === 2);
  const [pickleName] = pickles;
  if (pickleName === undefined || pickles.length > 1)
    fail(`a zip file, but not one that torch.save wrote: it has no single ${PICKLE_NAME}`);
  const root = pickleName.slice(0, -PICKLE_NAME.length);
  if (entries.has(`${root}constants.pkl`)) {
    fail('a TorchScript program; in Python, save its weights: torch.save(torch.jit.load(file).state_dict(), file)');
  }
  const compressed = [...entries].find(([, entry]) => entry.compressed);
  if (compressed)
    fail(`its zip entry ${shown(compressed[0])} is compressed; unpack the file and pack it again without compression (zip -0)`);
  const order = entries.get(`${root}byteorder`);
  if (order && Buffer.from(await reader.take(order.offset, Math.min(order.size, 8))).toString('latin1') !== 'little') {
    fail('its numbers are in big-endian order; save it again on a little-endian machine, such as any PC');
  }
  const { offset, size } = entries.get(pickleName) as ZipEntry;
  if (size > MAXIMUM_PICKLE_BYTES) fail(`its pickle has ${size} bytes; at most ${MAXIMUM_PICKLE_BYTES} are read`);

  const places = new Map<string, number>();
  const place = (storage: TorchStorage) => {
    const entry = entries.get(`${root}data/${storage.key}`);
    if (!entry) fail(`the bytes of its storage ${shown(storage.key)} are missing`);
    if (entry.size !== storage.bytes) {
      fail(`its storage ${shown(storage.key)} should have ${storage.bytes} bytes, the file has ${entry.size}`);
    }
    places.set(storage.key, entry.offset);
  };
  try {
    const bytes = await reader.take(offset, size);
    const { value, end } = unpickle(bytes, torchWorld(place, fail), fail);
    if (end !== size) fail('its pickle ends before its bytes do');
    return { value, places };
  } catch (error) {
    if (error instanceof PickleCutShort) fail('its pickle is cut short');
    throw error;
  }
}
