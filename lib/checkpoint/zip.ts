/**
 * The directory of a zip file as `torch.save` writes it (PKWARE's APPNOTE.TXT; zip64 where a size or an offset needs it). Only what such
 * files contain is accepted, so that no two readers can see different contents.
 */
import { type Fail, shown } from './failure.js';
import type { FileReader } from './file_reader.js';

/** Where the bytes of an entry are in the file. */
export interface ZipEntry {
  readonly offset: number;
  /** As it lies in the file. */
  readonly size: number;
  readonly compressed: boolean;
}

const END_BYTES = 22;
const END64_BYTES = 56;
const LOCATOR64_BYTES = 20;
const LOCAL_HEADER_BYTES = 30;
const CENTRAL_HEADER_BYTES = 46;
const MAXIMUM_COMMENT_BYTES = 0xffff;
/** A few hundred bytes for each tensor; every entry costs a read. */
const MAXIMUM_DIRECTORY_BYTES = 8 * 1024 * 1024;
const SIGNATURES = { local: 0x04034b50, central: 0x02014b50, end: 0x06054b50, end64: 0x06064b50, locator64: 0x07064b50 } as const;
/** Sizes may follow the data, and are then 0 in the local header (bit 3); the name is UTF-8 (bit 11). */
const ALLOWED_FLAGS = (1 << 3) | (1 << 11);
/** In 16 and 32 bits, these mean that the number is in a zip64 record. */
const IN_ZIP64 = { count: 0xffff, size: 0xffffffff } as const;
const ZIP64_EXTRA = 1;

interface Directory {
  readonly start: number;
  readonly bytes: number;
  readonly count: number;
}

interface CentralEntry {
  readonly name: string;
  readonly nameBytes: Uint8Array;
  readonly flags: number;
  /** Its compression; 0 is none. */
  readonly method: number;
  readonly stored: number;
  readonly size: number;
  readonly headerOffset: number;
}

/** The entries by name. Reads the directory and each entry's own header, and fails unless both agree and no entries overlap. */
export async function readZipDirectory(file: FileReader, fail: Fail): Promise<ReadonlyMap<string, ZipEntry>> {
  const directory = await findDirectory(file, fail);
  if (directory.bytes > MAXIMUM_DIRECTORY_BYTES) {
    fail(`its zip directory has ${directory.bytes} bytes; at most ${MAXIMUM_DIRECTORY_BYTES} are read`);
  }
  const central = parseDirectory(await file.take(directory.start, directory.bytes), directory, fail);
  const entries = new Map<string, ZipEntry>();
  let covered = 0;
  for (const entry of [...central].sort((a, b) => a.headerOffset - b.headerOffset)) {
    if (entry.headerOffset < covered) fail(`its zip entry ${shown(entry.name)} overlaps another one`);
    const offset = await dataOffset(file, entry, directory.start, fail);
    if (entries.has(entry.name)) fail(`it has the zip entry ${shown(entry.name)} twice`);
    entries.set(entry.name, { offset, size: entry.stored, compressed: entry.method !== 0 });
    covered = offset + entry.stored;
  }
  return entries;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** A 64-bit number that must be exact; NaN otherwise, which fails every comparison. */
function wholeNumber64(view: DataView, offset: number): number {
  const value = view.getBigUint64(offset, true);
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : Number.NaN;
}

async function findDirectory(file: FileReader, fail: Fail): Promise<Directory> {
  const tailStart = Math.max(0, file.size - END_BYTES - MAXIMUM_COMMENT_BYTES);
  const tail = await file.take(tailStart, file.size - tailStart);
  const view = viewOf(tail);
  let end = tail.length - END_BYTES;
  const isEnd = () => view.getUint32(end, true) === SIGNATURES.end && view.getUint16(end + 20, true) === tail.length - end - END_BYTES;
  while (end >= 0 && !isEnd()) end--;
  if (end < 0) fail('cut short: a zip file whose directory, at its end, is missing; copy or download it again');

  const endStart = tailStart + end;
  const [disk, directoryDisk, diskCount, count] = [4, 6, 8, 10].map((offset) => view.getUint16(end + offset, true)) as [
    number,
    number,
    number,
    number,
  ];
  const directory = { count, bytes: view.getUint32(end + 12, true), start: view.getUint32(end + 16, true) };
  if (disk !== 0 || directoryDisk !== 0 || diskCount !== count) fail('a zip file in several parts, which torch.save does not write');
  const directory64 = await findDirectory64(file, endStart, fail);
  if (!directory64) return checkedDirectory(directory, endStart, fail);
  const agrees = (short: number, long: number, marker: number) => short === long || short === marker;
  if (
    !agrees(directory.count, directory64.count, IN_ZIP64.count) ||
    !agrees(directory.bytes, directory64.bytes, IN_ZIP64.size) ||
    !agrees(directory.start, directory64.start, IN_ZIP64.size)
  ) {
    fail('its two zip directories disagree');
  }
  return directory64;
}

/** The zip64 record that the locator before the end record points to, where there is one. */
async function findDirectory64(file: FileReader, endStart: number, fail: Fail): Promise<Directory | undefined> {
  if (endStart < LOCATOR64_BYTES) return undefined;
  const locator = viewOf(await file.take(endStart - LOCATOR64_BYTES, LOCATOR64_BYTES));
  if (locator.getUint32(0, true) !== SIGNATURES.locator64) return undefined;
  const recordStart = wholeNumber64(locator, 8);
  if (!(recordStart + END64_BYTES <= endStart - LOCATOR64_BYTES)) fail('its zip64 record lies outside the file');
  const record = viewOf(await file.take(recordStart, END64_BYTES));
  if (record.getUint32(0, true) !== SIGNATURES.end64) fail('its zip64 record is missing');
  const directory = { count: wholeNumber64(record, 32), bytes: wholeNumber64(record, 40), start: wholeNumber64(record, 48) };
  return checkedDirectory(directory, recordStart, fail);
}

function checkedDirectory(directory: Directory, limit: number, fail: Fail): Directory {
  if (!(directory.start + directory.bytes <= limit)) fail('its zip directory lies outside the file (cut short?)');
  return directory;
}

function parseDirectory(bytes: Uint8Array, { count }: Directory, fail: Fail): CentralEntry[] {
  const view = viewOf(bytes);
  const entries: CentralEntry[] = [];
  let position = 0;
  while (position < bytes.length) {
    if (position + CENTRAL_HEADER_BYTES > bytes.length || view.getUint32(position, true) !== SIGNATURES.central) {
      fail('its zip directory is damaged');
    }
    const [nameLength, extraLength, commentLength] = [28, 30, 32].map((offset) => view.getUint16(position + offset, true)) as [
      number,
      number,
      number,
    ];
    const nameStart = position + CENTRAL_HEADER_BYTES;
    const extraStart = nameStart + nameLength;
    const next = extraStart + extraLength + commentLength;
    if (next > bytes.length) fail('its zip directory is damaged');
    const nameBytes = bytes.subarray(nameStart, extraStart);
    const name = decodeName(nameBytes, fail);
    const flags = view.getUint16(position + 8, true);
    if (flags & ~ALLOWED_FLAGS) fail(`its zip entry ${shown(name)} is encrypted or otherwise not as torch.save writes it`);
    const method = view.getUint16(position + 10, true);
    const [stored, size, headerOffset] = sizes64(
      [20, 24, 42].map((offset) => view.getUint32(position + offset, true)),
      bytes.subarray(extraStart, extraStart + extraLength),
      () => fail(`the zip64 sizes of its entry ${shown(name)} are missing`),
    ) as [number, number, number];
    if (method === 0 && !(stored === size)) fail(`its zip entry ${shown(name)} has ${stored} bytes stored but says ${size}`);
    entries.push({ name, nameBytes, flags, method, stored, size, headerOffset });
    position = next;
  }
  if (entries.length !== count) fail(`its zip directory has ${entries.length} entries but says ${count}`);
  return entries;
}

/** `short` with the numbers of the zip64 extra field, which contains only those that did not fit, in this order. */
function sizes64(short: readonly number[], extra: Uint8Array, missing: () => never): number[] {
  if (short.every((value) => value !== IN_ZIP64.size)) return [...short];
  const view = viewOf(extra);
  for (let start = 0; start + 4 <= extra.length; start += 4 + view.getUint16(start + 2, true)) {
    if (view.getUint16(start, true) !== ZIP64_EXTRA) continue;
    const end = Math.min(extra.length, start + 4 + view.getUint16(start + 2, true));
    let place = start + 4;
    return short.map((value) => {
      if (value !== IN_ZIP64.size) return value;
      if (place + 8 > end) missing();
      place += 8;
      return wholeNumber64(view, place - 8);
    });
  }
  return missing();
}

function decodeName(bytes: Uint8Array, fail: Fail): string {
  let name: string;
  try {
    name = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    fail('the name of a zip entry is not UTF-8 text', undefined, error);
  }
  // Nothing is ever unpacked, but no honest writer uses such names.
  if (/[\p{Cc}\\]/u.test(name) || name.split('/').some((part) => part === '' || part === '.' || part === '..')) {
    fail(`its zip entry ${shown(name)} has a name that torch.save does not write`);
  }
  return name;
}

/** Where the bytes of an entry begin: after its own header, which must agree with the directory. */
async function dataOffset(file: FileReader, entry: CentralEntry, directoryStart: number, fail: Fail): Promise<number> {
  const { name, nameBytes, flags, method, stored, size, headerOffset } = entry;
  const disagree = () => fail(`the header of its zip entry ${shown(name)} does not agree with the directory`);
  if (!(headerOffset + LOCAL_HEADER_BYTES + nameBytes.length <= directoryStart)) disagree();
  const bytes = await file.take(headerOffset, LOCAL_HEADER_BYTES + nameBytes.length);
  const view = viewOf(bytes);
  const [nameLength, extraLength] = [view.getUint16(26, true), view.getUint16(28, true)];
  const agree =
    view.getUint32(0, true) === SIGNATURES.local &&
    view.getUint16(6, true) === flags &&
    view.getUint16(8, true) === method &&
    nameLength === nameBytes.length &&
    Buffer.compare(nameBytes, bytes.subarray(LOCAL_HEADER_BYTES)) === 0 &&
    sizeAgrees(view.getUint32(18, true), stored, flags) &&
    sizeAgrees(view.getUint32(22, true), size, flags);
  if (!agree) disagree();
  const offset = headerOffset + LOCAL_HEADER_BYTES + nameLength + extraLength;
  if (!(offset + stored <= directoryStart)) fail(`its zip entry ${shown(name)} claims ${stored} bytes, which reach beyond its data`);
  return offset;
}

/** Whether the size in an entry's own header agrees with that in the directory. */
function sizeAgrees(local: number, size: number, flags: number): boolean {
  const behindData = (flags & (1 << 3)) !== 0;
  return local === size || local === IN_ZIP64.size || (behindData && local === 0);
}
