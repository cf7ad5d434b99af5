/** Converts a checkpoint to safetensors. */
import type { CheckpointFile, TensorEntry } from './checkpoint_file.js';
import { streamSafetensors } from './safetensors.js';
import { elementCount, STORED_ARRAYS } from './stored_tensor.js';

/**
 * Writes tensors of an open file, with their names, types and bits, as safetensors to `path`, one tensor in memory at a time.
 * @param metadata is added to the file's own
 * @param names of the tensors to write; all of them, if left out
 * @returns how many tensors, and their bytes
 * @throws ERR_KW_CHECKPOINT; the file at `path` is replaced only by a complete one
 */
export async function convertCheckpoint(
  file: CheckpointFile,
  path: string,
  metadata: Readonly<Record<string, string>> = {},
  names: readonly string[] = file.names,
): Promise<{ readonly tensors: number; readonly bytes: number }> {
  const entries = new Map<string, TensorEntry>(names.map((name) => [name, file.entry(name)]));
  await streamSafetensors(path, entries, (name) => file.read(name), { ...file.metadata, ...metadata });
  let bytes = 0;
  for (const { type, shape } of entries.values()) bytes += (elementCount(shape) as number) * STORED_ARRAYS[type].BYTES_PER_ELEMENT;
  return { tensors: entries.size, bytes };
}
