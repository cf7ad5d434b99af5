/**
 * The format of `torch.save` before PyTorch 1.6: five pickles (a magic number, the version, the machine's properties, the value, the
 * storages' keys), then each storage as its count (int64) and its elements.
 */
import { type Fail, shown } from './failure.js';
import type { FileReader } from './file_reader.js';
import type { PthContents } from './pth.js';
import { type TorchStorage, torchWorld } from './torch_values.js';
import { PickleCutShort, type PickleValue, type PickleWorld, unpickle } from './unpickle.js';

/** The pickle of PyTorch's magic number 0x1950a86a20f9469cfc6c. */
const MAGIC = [0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e];
const VERSION = 1001;
/** How much of the file is searched for its pickles, whose length is not stored. */
const FIRST_WINDOW_BYTES = 1024 * 1024;
const LAST_WINDOW_BYTES = 64 * 1024 * 1024;
const COUNT_BYTES = 8;

export function isLegacy(start: Uint8Array): boolean {
  return MAGIC.every((byte, i) => start[i] === byte);
}

interface Head {
  readonly value: PickleValue;
  readonly keys: readonly PickleValue[];
  readonly storages: ReadonlyMap<string, TorchStorage>;
  /** Where the storages begin. */
  readonly end: number;
}

export async function readLegacy(reader: FileReader, fail: Fail): Promise<PthContents> {
  const { value, keys, storages, end } = await readHead(reader, fail);
  const places = new Map<string, number>();
  let position = end;
  for (const key of keys) {
    const storage = typeof key === 'string' ? storages.get(key) : undefined;
    if (!storage || places.has(storage.key)) fail('its list of storages does not agree with its tensors');
    const header = await reader.take(position, COUNT_BYTES);
    if (header.length < COUNT_BYTES || position + COUNT_BYTES + storage.bytes > reader.size) {
      fail(`cut short: storage ${shown(storage.key)} of ${storage.bytes} bytes reaches beyond the end`);
    }
    const count = new DataView(header.buffer).getBigInt64(0, true);
    if (count !== BigInt(storage.count))
      fail(`its storage ${shown(storage.key)} has ${count} elements, but its tensors say ${storage.count}`);
    places.set(storage.key, position + COUNT_BYTES);
    position += COUNT_BYTES + storage.bytes;
  }
  if (places.size !== storages.size) fail('the bytes of some of its storages are missing');
  if (position !== reader.size) fail(`${reader.size - position} bytes at its end belong to no storage`);
  return { value, places };
}

async function readHead(reader: FileReader, fail: Fail): Promise<Head> {
  for (let window = FIRST_WINDOW_BYTES; ; window *= 8) {
    try {
      return parseHead(await reader.take(0, Math.min(window, LAST_WINDOW_BYTES)), fail);
    } catch (error) {
      if (!(error instanceof PickleCutShort)) throw error;
      if (window >= reader.size) fail('cut short: it ends inside its pickles');
      if (window >= LAST_WINDOW_BYTES) fail(`its pickles have more than ${LAST_WINDOW_BYTES} bytes`);
    }
  }
}

function parseHead(bytes: Uint8Array, fail: Fail): Head {
  const storages = new Map<string, TorchStorage>();
  const world = torchWorld((storage, id) => {
    const known = storages.get(storage.key);
    if (known && (known.type !== storage.type || known.count !== storage.count))
      fail(`it describes storage ${shown(storage.key)} in two ways`);
    if (id.length > 5 && id[5] !== null)
      fail('a file of PyTorch before 0.4; open it with PyTorch (torch.load) and save it again (torch.save)');
    storages.set(storage.key, storage);
  }, fail);
  let end = MAGIC.length;
  const next = (meaning: PickleWorld): PickleValue => {
    const result = unpickle(bytes.subarray(end), meaning, fail);
    end += result.end;
    return result.value;
  };
  const version = next(world);
  if (version !== VERSION) fail(`its format has version ${String(version)}; ${VERSION} is known`);
  const machine = next(world);
  if (machine instanceof Map && machine.get('little_endian') === false) {
    fail('its numbers are in big-endian order; save it again on a little-endian machine, such as any PC');
  }
  const value = next(world);
  const keys = next(world);
  if (!Array.isArray(keys)) fail('its list of storages is missing');
  return { value, keys, storages, end };
}
