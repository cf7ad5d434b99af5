/** Files of named tensors, in any format. */
import { failureOf } from './failure.js';
import { FileReader } from './file_reader.js';
import { PthFile, type PthOptions } from './pth.js';
import { SafetensorsFile } from './safetensors.js';
import type { StoredTensor, StoredType } from './stored_tensor.js';

/** A tensor before it is read. The shape is PyTorch's. */
export interface TensorEntry {
  readonly type: StoredType;
  readonly shape: readonly number[];
}

/** Named tensors, each read on request. */
export interface TensorSource {
  /** Their file, for messages. */
  readonly path?: string;
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
  /**
   * What the file says about its tensors: `epoch` and `args` (JSON) from a training script, `kernel-warehouse` (JSON) from this package.
   */
  readonly metadata: Readonly<Record<string, string>>;
  close(): Promise<void>;
}

export type OpenOptions = PthOptions;

/** Prefixes that PyTorch's wrappers put before every name: DataParallel, torch.compile. */
const WRAPPER_PREFIXES = ['module.', '_orig_mod.'];

/**
 * Opens a checkpoint: safetensors, or what `torch.save` writes. Its bytes decide, not its name. Names lose the prefixes that PyTorch's
 * wrappers add. Nothing in the file is executed, and nothing but its directory is read until a tensor is asked for.
 * Throws ERR_KW_CHECKPOINT for a file that is neither, or is damaged.
 */
export async function openCheckpoint(path: string, options: OpenOptions = {}): Promise<CheckpointFile> {
  const reader = await FileReader.open(path);
  try {
    return unwrapped(await openAs(reader, options));
  } catch (error) {
    await reader.close();
    throw error;
  }
}

async function openAs(reader: FileReader, options: OpenOptions): Promise<CheckpointFile> {
  const start = await reader.take(0, 512);
  const fail = failureOf(reader.path);
  if (start.length === 0) fail('the file is empty; copy or download it again');
  if (PthFile.recognizes(start)) return PthFile.from(reader, options);
  const begins = (text: string, at = 0) => Buffer.from(start.subarray(at, at + text.length)).toString('latin1') === text;
  // Checked first, because the length before it can be any bytes.
  if (begins('{', 8) || start.length <= 8) {
    if (options.weights === 'model_ema') fail('a safetensors file, which has no model_ema beside its tensors');
    return SafetensorsFile.from(reader);
  }
  if (begins('ustar', 257)) fail('a file of PyTorch 0.1, a tar archive; open it with PyTorch (torch.load) and save it again (torch.save)');
  if (start[0] === 0x80 && (start[1] as number) >= 2 && (start[1] as number) <= 5) {
    fail('a Python pickle, but not one that torch.save wrote; in Python, save the tensors with torch.save');
  }
  return fail('neither a safetensors file nor one that torch.save wrote');
}

/** The wrappers' prefixes that all names share. */
function wrapperPrefix(names: readonly string[]): string {
  let prefix = '';
  for (;;) {
    const next = WRAPPER_PREFIXES.map((one) => prefix + one).find((candidate) => names.every((name) => name.startsWith(candidate)));
    if (next === undefined || names.length === 0) return prefix;
    prefix = next;
  }
}

/** The tensors whose names begin with `prefix`, without it. */
export function withoutPrefix(source: TensorSource, prefix: string): TensorSource {
  return {
    names: source.names.filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length)),
    has: (name) => source.has(prefix + name),
    entry: (name) => source.entry(prefix + name),
    read: (name) => source.read(prefix + name),
  };
}

/** Tensors in memory as a source. */
export function tensorsInMemory(tensors: ReadonlyMap<string, StoredTensor>): TensorSource {
  const entry = (name: string) => tensors.get(name) ?? failureOf('tensors in memory')('no such tensor', name);
  return { names: [...tensors.keys()], has: (name) => tensors.has(name), entry, read: async (name) => entry(name) };
}

function unwrapped(file: CheckpointFile): CheckpointFile {
  const prefix = wrapperPrefix(file.names);
  if (prefix === '') return file;
  const { path, format, metadata } = file;
  const close = () => file.close();
  return { ...withoutPrefix(file, prefix), path, format, metadata, close, [Symbol.asyncDispose]: close };
}
