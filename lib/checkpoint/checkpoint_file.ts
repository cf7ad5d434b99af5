/** Files of named tensors, whatever their format. */
import { failureOf, shown } from './failure.js';
import { FileReader } from './file_reader.js';
import { PthFile, type PthOptions } from './pth.js';
import { SafetensorsFile } from './safetensors.js';
import type { StoredTensor, StoredType } from './stored_tensor.js';

/** What is known of a tensor without reading it. The shape is PyTorch's. */
export interface TensorEntry {
  readonly type: StoredType;
  readonly shape: readonly number[];
}

/** Named tensors, each of which is read when asked for. */
export interface TensorSource {
  readonly names: readonly string[];
  has(name: string): boolean;
  entry(name: string): TensorEntry;
  /** Reads one tensor into a new array. */
  read(name: string): Promise<StoredTensor>;
}

/** An open file of tensors: close it, or declare it with `await using`. Every problem is an ERR_KW_CHECKPOINT that names the file. */
export interface CheckpointFile extends TensorSource, AsyncDisposable {
  readonly path: string;
  readonly format: 'safetensors' | 'pth';
  /** What the file says about its tensors: `epoch`, `args` (JSON) of a training script, `kernel-warehouse` (JSON) of this package. */
  readonly metadata: Readonly<Record<string, string>>;
  close(): Promise<void>;
}

export type OpenOptions = PthOptions;

/** What wrappers of PyTorch put before every name: DataParallel, torch.compile. */
const WRAPPER_PREFIXES = ['module.', '_orig_mod.'];

/**
 * Opens a checkpoint: safetensors, or what `torch.save` writes. Its bytes decide, not its name. Names lose the prefixes that PyTorch's wrappers add.
 * Nothing in the file is executed, and nothing but its directory is read until a tensor is asked for.
 * Throws ERR_KW_CHECKPOINT for a file that is neither, or is damaged.
 */
export async function openCheckpoint(path: string, options: OpenOptions = {}): Promise<CheckpointFile> {
  const reader = await FileReader.open(path);
  try {
    const file = await openAs(reader, options);
    const prefix = wrapperPrefix(file.names);
    return prefix === '' ? file : new Unwrapped(file, prefix);
  } catch (error) {
    await reader.close();
    throw error;
  }
}

async function openAs(reader: FileReader, options: OpenOptions): Promise<CheckpointFile> {
  const start = await reader.take(0, 512);
  const fail = failureOf(reader.path);
  if (PthFile.recognizes(start)) return PthFile.from(reader, options);
  const begins = (text: string, at = 0) => Buffer.from(start.subarray(at, at + text.length)).toString('latin1') === text;
  if (begins('ustar', 257)) fail('a file of PyTorch 0.1, a tar archive; open it with PyTorch (torch.load) and save it again (torch.save)');
  if (start[0] === 0x80 && (start[1] as number) <= 5) {
    fail('a Python pickle, but not one that torch.save wrote; in Python, save the tensors with torch.save');
  }
  if (start.length > 8 && !begins('{', 8)) fail('neither a safetensors file nor one that torch.save wrote');
  if (options.weights === 'model_ema') fail('a safetensors file, which has no model_ema beside its tensors');
  return SafetensorsFile.from(reader);
}

/** The wrappers' prefixes that all names have. */
function wrapperPrefix(names: readonly string[]): string {
  let prefix = '';
  for (;;) {
    const next = WRAPPER_PREFIXES.map((one) => prefix + one).find((candidate) => names.every((name) => name.startsWith(candidate)));
    if (next === undefined || names.length === 0) return prefix;
    prefix = next;
  }
}

/** A file with a prefix taken off its names. */
class Unwrapped implements CheckpointFile {
  readonly #file: CheckpointFile;
  readonly #prefix: string;

  constructor(file: CheckpointFile, prefix: string) {
    this.#file = file;
    this.#prefix = prefix;
  }

  get path(): string {
    return this.#file.path;
  }

  get format(): CheckpointFile['format'] {
    return this.#file.format;
  }

  get names(): readonly string[] {
    return this.#file.names.map((name) => name.slice(this.#prefix.length));
  }

  get metadata(): Readonly<Record<string, string>> {
    return this.#file.metadata;
  }

  has(name: string): boolean {
    return this.#file.has(this.#prefix + name);
  }

  entry(name: string): TensorEntry {
    return this.#file.entry(this.#prefix + name);
  }

  read(name: string): Promise<StoredTensor> {
    return this.#file.read(this.#prefix + name);
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** Tensors in memory as a source. */
export function tensorsInMemory(tensors: ReadonlyMap<string, StoredTensor>): TensorSource {
  const entry = (name: string) => tensors.get(name) ?? failureOf('tensors in memory')(`there is no tensor ${shown(name)}`);
  return { names: [...tensors.keys()], has: (name) => tensors.has(name), entry, read: async (name) => entry(name) };
}
