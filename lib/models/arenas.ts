/** Copies stored tensors between a device's arenas and PyTorch's order. */
import type { TensorSource } from '../checkpoint/checkpoint_file.js';
import { type StoredTensor, toFloat32 } from '../checkpoint/stored_tensor.js';
import type { Arena } from '../graph/arena.js';
import { type TensorDeclaration, toLogical, toPhysical } from '../graph/declaration.js';
import type { DeviceBuffer } from '../runtime/buffer.js';
import { compareTensors, describeMisfit } from './load_report.js';

/** A tensor in PyTorch's order under its official name. */
export interface NamedTensor extends StoredTensor {
  readonly type: 'F32';
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** Every tensor of an arena, in PyTorch's order. */
export async function readArena(arena: Arena, buffer: DeviceBuffer): Promise<Map<string, NamedTensor>> {
  const values = new Float32Array(await buffer.read());
  const tensors = new Map<string, NamedTensor>();
  for (const { declaration, offset, size } of arena.entries) {
    const data = new Float32Array(size);
    toLogical(declaration.shape, declaration.channelAxis, values.subarray(offset, offset + size), data);
    tensors.set(declaration.name, { type: 'F32', shape: declaration.shape, data });
  }
  return tensors;
}

/** Writes the tensors of an arena that are in `names` (default: all) from a source that has them in the same shapes. */
export async function writeArena(arena: Arena, buffer: DeviceBuffer, source: TensorSource, names?: ReadonlySet<string>): Promise<void> {
  for (const { declaration, offset } of arena.entries) {
    const { name } = declaration;
    if (names?.has(name) ?? true) await writeTensor(buffer, declaration, offset, toFloat32(await source.read(name)));
  }
}

/** Why a source cannot fill an arena, in one line; undefined if it can. */
export function describeArenaMisfit(arena: Arena, source: TensorSource): string | undefined {
  return describeMisfit(
    compareTensors(
      arena.entries.map(({ declaration }) => declaration),
      source,
    ),
  );
}

/** @param values in PyTorch's order */
export async function writeTensor(
  buffer: DeviceBuffer,
  declaration: TensorDeclaration,
  offset: number,
  values: Float32Array,
): Promise<void> {
  const physical = new Float32Array(values.length);
  toPhysical(declaration.shape, declaration.channelAxis, values, physical);
  await buffer.write(physical, 4 * offset);
}
