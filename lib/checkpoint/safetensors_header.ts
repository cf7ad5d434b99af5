import { type Fail, shown } from './failure.js';
import { elementCount, isStoredType, STORED_ARRAYS, type StoredType } from './stored_tensor.js';

/** Where a tensor is in a safetensors file: offsets in bytes from the start of the data section. */
export interface SafetensorsEntry {
  readonly type: StoredType;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

export interface SafetensorsHeader {
  readonly entries: ReadonlyMap<string, SafetensorsEntry>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** The reference implementation reads 100 MB, but no network needs a hundredth of that, and parsed JSON takes many times as much memory. */
export const MAXIMUM_HEADER_BYTES = 16 * 1024 * 1024;

/**
 * Parses and checks the JSON header of a safetensors file whose data section has `dataBytes` bytes. As the format demands, the tensors fill
 * the data section without gap or overlap. Calls `fail`, which throws, with what is wrong and, where one is to blame, the tensor's name.
 */
export function parseSafetensorsHeader(bytes: Uint8Array, dataBytes: number, fail: Fail): SafetensorsHeader {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    fail('the header is not UTF-8 text', undefined, error);
  }
  let header: unknown;
  try {
    if (!text.startsWith('{')) throw new SyntaxError('it does not begin with {');
    header = JSON.parse(text);
  } catch (error) {
    fail(`the header is not valid JSON: ${(error as Error).message}`, undefined, error);
  }
  const duplicate = findDuplicateKey(text);
  if (duplicate !== undefined) fail(`the header has the key ${shown(duplicate)} twice`);

  const entries = new Map<string, SafetensorsEntry>();
  let metadata: Readonly<Record<string, string>> = {};
  for (const [name, value] of Object.entries(header as Record<string, unknown>)) {
    if (name === '__metadata__') metadata = parseMetadata(value, fail);
    else entries.set(name, parseEntry(name, value, dataBytes, fail));
  }
  return { entries: orderByPlace(entries, dataBytes, fail), metadata };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function parseMetadata(value: unknown, fail: Fail): Readonly<Record<string, string>> {
  if (!isObject(value)) fail('__metadata__ is not an object of strings');
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== 'string') fail(`__metadata__ ${shown(key)} is not a string`);
  }
  return value as Record<string, string>;
}

function parseEntry(name: string, value: unknown, dataBytes: number, fail: Fail): SafetensorsEntry {
  if (!isObject(value)) fail('its entry is not an object', name);
  for (const key of Object.keys(value)) {
    if (key !== 'dtype' && key !== 'shape' && key !== 'data_offsets') fail(`its entry has an unknown key ${shown(key)}`, name);
  }
  const { dtype, shape, data_offsets: offsets } = value;
  if (!isStoredType(dtype)) {
    fail(
      `dtype ${dtype === undefined ? 'is missing' : shown(String(dtype))}: expected one of ${Object.keys(STORED_ARRAYS).join(', ')}`,
      name,
    );
  }
  const count = Array.isArray(shape) ? elementCount(shape) : undefined;
  if (count === undefined) fail('shape: expected a list of whole numbers >= 0', name);
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every((offset) => Number.isSafeInteger(offset) && offset >= 0)) {
    fail('data_offsets: expected two whole numbers >= 0', name);
  }
  const [begin, end] = offsets as [number, number];
  if (end < begin || end > dataBytes)
    fail(`data_offsets [${begin}, ${end}] lie outside the ${dataBytes} bytes of data (file cut short?)`, name);
  const expected = count * STORED_ARRAYS[dtype].BYTES_PER_ELEMENT;
  if (end - begin !== expected) {
    fail(`data_offsets hold ${end - begin} bytes, but ${dtype} [${(shape as number[]).join(', ')}] needs ${expected}`, name);
  }
  return { type: dtype, shape: shape as number[], begin, end };
}

/** The entries in the order of their data, which JSON does not keep for names like numbers; fails on a gap or an overlap. */
function orderByPlace(
  entries: ReadonlyMap<string, SafetensorsEntry>,
  dataBytes: number,
  fail: Fail,
): ReadonlyMap<string, SafetensorsEntry> {
  const ordered = [...entries].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end);
  let covered = 0;
  for (const [name, entry] of ordered) {
    if (entry.begin < covered) fail('its data overlaps that of another tensor', name);
    if (entry.begin > covered) fail(`${entry.begin - covered} bytes before its data belong to no tensor`, name);
    covered = entry.end;
  }
  if (covered !== dataBytes) fail(`${dataBytes - covered} bytes at the end belong to no tensor`);
  return new Map(ordered);
}

/** The first key that occurs twice in one object of a text that JSON.parse has accepted; JSON.parse itself keeps the last silently. */
function findDuplicateKey(text: string): string | undefined {
  const open: (Set<string> | undefined)[] = []; // a set for each open object, undefined for each open list
  let expectKey = false;
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (character === '{') {
      open.push(new Set());
      expectKey = true;
    } else if (character === '[') {
      open.push(undefined);
      expectKey = false;
    } else if (character === '}' || character === ']') {
      open.pop();
      expectKey = false;
    } else if (character === ',') expectKey = open.at(-1) !== undefined;
    else if (character === '"') {
      const start = i;
      for (i++; text[i] !== '"'; i++) if (text[i] === '\\') i++;
      if (!expectKey) continue;
      expectKey = false;
      const key = JSON.parse(text.slice(start, i + 1)) as string;
      const keys = open.at(-1) as Set<string>;
      if (keys.has(key)) return key;
      keys.add(key);
    }
  }
  return undefined;
}
