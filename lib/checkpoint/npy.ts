/**
 * NumPy's .npy format, versions 1.0 to 3.0: one array with a header that is a
 * Python dict literal, which is parsed here, never evaluated.
 */
import { readFile } from 'node:fs/promises';
import { KernelWarehouseError } from '../errors.js';
import { writeFileAtomically, writeFully } from './atomic_file.js';
import { bytesOf, describeMismatch, elementCount, gather, STORED_ARRAYS, type StoredTensor, type StoredType } from './stored_tensor.js';

const MAGIC = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59]; // \x93NUMPY
const MAXIMUM_HEADER_BYTES = 65_536;
const MAXIMUM_DIMENSIONS = 64; // NumPy's own limit
const DATA_ALIGNMENT = 64;

const TYPES: Readonly<Record<string, StoredType>> = {
  f8: 'F64',
  f4: 'F32',
  f2: 'F16',
  i8: 'I64',
  u8: 'U64',
  i4: 'I32',
  u4: 'U32',
  i2: 'I16',
  u2: 'U16',
  i1: 'I8',
  u1: 'U8',
  b1: 'BOOL',
};
const WRITTEN_TYPES: Partial<Record<StoredType, string>> = { F32: '<f4', F64: '<f8', I32: '<i4', I64: '<i8' };

function fail(name: string, problem: string, cause?: unknown): never {
  throw new KernelWarehouseError('ERR_KW_DATA', `${name}: ${problem}`, cause === undefined ? undefined : { cause });
}

/** Reads a .npy file; see `parseNpy`. */
export async function readNpy(path: string): Promise<StoredTensor> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (error) {
    fail(path, `cannot be read: ${(error as Error).message}`, error);
  }
  return parseNpy(bytes, path);
}

/**
 * The array in the bytes of a .npy file, in row-major order and this machine's byte order, whatever the file's are. Reads float16/32/64,
 * integers of 8 to 64 bits and booleans. Throws ERR_KW_DATA, naming `name` (the file), if the bytes are anything else.
 */
export function parseNpy(bytes: Uint8Array, name: string): StoredTensor {
  if (bytes.length < 10 || MAGIC.some((byte, i) => bytes[i] !== byte)) fail(name, 'not a .npy file (it does not begin with \\x93NUMPY)');
  const version = bytes[6] as number;
  if (version < 1 || version > 3) fail(name, `version ${version} of the .npy format; versions 1, 2 and 3 are known`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (version > 1 && bytes.length < 12) fail(name, 'cut short in the header');
  const headerStart = version === 1 ? 10 : 12;
  const headerBytes = version === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  if (headerBytes > MAXIMUM_HEADER_BYTES) fail(name, `a header of ${headerBytes} bytes; at most ${MAXIMUM_HEADER_BYTES} are read`);
  const dataStart = headerStart + headerBytes;
  if (dataStart > bytes.length) fail(name, `cut short: the header should end at byte ${dataStart}, the file has ${bytes.length}`);
  const text = new TextDecoder(version === 3 ? 'utf-8' : 'latin1').decode(bytes.subarray(headerStart, dataStart));

  const { descriptor, fortranOrder, shape } = parseHeader(text, name);
  const type = TYPES[descriptor.slice(1)];
  const order = descriptor[0];
  if (type === undefined || !order || !'<>|='.includes(order)) {
    const reason = descriptor.includes('O') ? 'Python objects, which would need unpickling' : 'not among the types read here';
    fail(name, `element type ${JSON.stringify(descriptor)}: ${reason}; expected one of ${Object.keys(TYPES).join(', ')} with < or >`);
  }
  if (shape.length > MAXIMUM_DIMENSIONS) fail(name, `${shape.length} dimensions; at most ${MAXIMUM_DIMENSIONS} are read`);
  const count = elementCount(shape);
  if (count === undefined) fail(name, `shape (${shape.join(', ')}) is too large`);
  const size = STORED_ARRAYS[type].BYTES_PER_ELEMENT;
  const expected = count * size;
  if (bytes.length - dataStart !== expected) {
    fail(name, `shape (${shape.join(', ')}) of ${descriptor} needs ${expected} bytes of data, the file has ${bytes.length - dataStart}`);
  }
  const buffer = new ArrayBuffer(expected);
  const data = new Uint8Array(buffer);
  data.set(bytes.subarray(dataStart));
  if (order === '>') reverseBytes(data, size);
  const tensor = { type, shape, data: new STORED_ARRAYS[type](buffer) };
  return fortranOrder && shape.length > 1 && count > 0 ? fromFortranOrder(tensor) : tensor;
}

/** Writes a float32, float64, int32 or int64 array as a .npy file of version 1.0; a file at `path` is replaced only by a complete one. */
export async function writeNpy(path: string, tensor: StoredTensor): Promise<void> {
  const header = encodeNpyHeader(tensor, path);
  try {
    await writeFileAtomically(path, async (file) => {
      await writeFully(file, header);
      await writeFully(file, bytesOf(tensor.data));
    });
  } catch (error) {
    fail(path, `cannot be written: ${(error as Error).message}`, error);
  }
}

function encodeNpyHeader(tensor: StoredTensor, path: string): Uint8Array {
  const descriptor = WRITTEN_TYPES[tensor.type];
  if (descriptor === undefined)
    fail(path, `type ${tensor.type} is not written as .npy; expected one of ${Object.keys(WRITTEN_TYPES).join(', ')}`);
  const mismatch = describeMismatch(tensor);
  if (mismatch !== undefined) fail(path, mismatch);
  if (tensor.shape.length > MAXIMUM_DIMENSIONS) fail(path, `${tensor.shape.length} dimensions; at most ${MAXIMUM_DIMENSIONS} are written`);
  const shape = tensor.shape.length === 1 ? `(${tensor.shape[0]},)` : `(${tensor.shape.join(', ')})`;
  const dictionary = `{'descr': '${descriptor}', 'fortran_order': False, 'shape': ${shape}, }`;
  const total = Math.ceil((10 + dictionary.length + 1) / DATA_ALIGNMENT) * DATA_ALIGNMENT;
  const header = Buffer.alloc(total, ' ');
  header.set([...MAGIC, 1, 0]);
  header.writeUInt16LE(total - 10, 8);
  header.write(dictionary, 10, 'latin1');
  header[total - 1] = 0x0a;
  return header;
}

interface NpyHeader {
  readonly descriptor: string;
  readonly fortranOrder: boolean;
  readonly shape: readonly number[];
}

/** The three entries of the header: a Python dict with string keys and values that are a string, a boolean or a tuple of whole numbers. */
function parseHeader(text: string, name: string): NpyHeader {
  const entry = /\s*(?:'([a-z_]*)'|"([a-z_]*)")\s*:\s*(?:'([^'\\]*)'|"([^"\\]*)"|(True|False)|\(([\sL\d,]*)\))\s*(,|(?=\}))/y;
  const found = new Map<string, string | boolean | number[]>();
  const body = text.trim();
  if (!body.startsWith('{')) fail(name, 'the header is not a Python dict');
  let position = 1;
  for (;;) {
    entry.lastIndex = position;
    const match = entry.exec(body);
    if (!match) break;
    const key = (match[1] ?? match[2]) as string;
    if (found.has(key)) fail(name, `the header has the key ${JSON.stringify(key)} twice`);
    const quoted = match[3] ?? match[4];
    found.set(key, quoted ?? (match[5] !== undefined ? match[5] === 'True' : parseTuple(match[6] as string, name)));
    position = entry.lastIndex;
  }
  if (body.slice(position).trim() !== '}') {
    fail(name, `the header cannot be understood at ${JSON.stringify(body.slice(position, position + 40))} (structured types are not read)`);
  }
  const descriptor = found.get('descr');
  const fortranOrder = found.get('fortran_order');
  const shape = found.get('shape');
  if (found.size !== 3 || typeof descriptor !== 'string' || typeof fortranOrder !== 'boolean' || !Array.isArray(shape)) {
    fail(name, 'the header needs exactly descr (a string), fortran_order (True or False) and shape (a tuple of whole numbers)');
  }
  return { descriptor, fortranOrder, shape };
}

function parseTuple(text: string, name: string): number[] {
  if (text.trim() === '') return [];
  const parts = text.split(',').map((part) => part.trim());
  if (parts.at(-1) === '') parts.pop();
  else if (parts.length === 1) fail(name, 'shape: expected a tuple such as (3,)');
  return parts.map((part) => {
    const size = /^\d+L?$/.test(part) ? Number.parseInt(part, 10) : Number.NaN; // Python 2 wrote an L after long integers
    if (!Number.isSafeInteger(size)) fail(name, `shape: ${JSON.stringify(part)} is not a size`);
    return size;
  });
}

function reverseBytes(bytes: Uint8Array, size: number): void {
  if (size > 1) for (let start = 0; start < bytes.length; start += size) bytes.subarray(start, start + size).reverse();
}

/** The same tensor with its elements moved from column-major to row-major order. */
function fromFortranOrder({ type, shape, data }: StoredTensor): StoredTensor {
  const target = new ArrayBuffer(data.byteLength);
  const strides = shape.map((_, axis) => shape.slice(0, axis).reduce((product, size) => product * size, 1));
  gather(data.buffer as ArrayBuffer, target, data.BYTES_PER_ELEMENT, shape, strides);
  return { type, shape, data: new STORED_ARRAYS[type](target) };
}
