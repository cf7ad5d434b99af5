import type { Fail } from './failure.js';

/** A tensor as files store it: element type, shape in row-major order, and the raw elements. */
export type StoredType = 'F64' | 'F32' | 'F16' | 'BF16' | 'I64' | 'U64' | 'I32' | 'U32' | 'I16' | 'U16' | 'I8' | 'U8' | 'BOOL';

/** F16 and BF16 are carried as their bits in a Uint16Array, BOOL as bytes 0 and 1; the other types have the array of their own kind. */
export type StoredArray =
  | Float64Array
  | Float32Array
  | BigInt64Array
  | BigUint64Array
  | Int32Array
  | Uint32Array
  | Int16Array
  | Uint16Array
  | Int8Array
  | Uint8Array;

export interface StoredTensor {
  readonly type: StoredType;
  readonly shape: readonly number[];
  readonly data: StoredArray;
}

interface StoredArrayConstructor {
  readonly name: string;
  readonly BYTES_PER_ELEMENT: number;
  new (buffer: ArrayBuffer): StoredArray;
}

export const STORED_ARRAYS: Readonly<Record<StoredType, StoredArrayConstructor>> = {
  F64: Float64Array,
  F32: Float32Array,
  F16: Uint16Array,
  BF16: Uint16Array,
  I64: BigInt64Array,
  U64: BigUint64Array,
  I32: Int32Array,
  U32: Uint32Array,
  I16: Int16Array,
  U16: Uint16Array,
  I8: Int8Array,
  U8: Uint8Array,
  BOOL: Uint8Array,
};

export function isStoredType(name: unknown): name is StoredType {
  return typeof name === 'string' && Object.hasOwn(STORED_ARRAYS, name);
}

/** Number of elements of a shape, or undefined when a dimension is not a whole number >= 0 or the product is not exact. */
export function elementCount(shape: readonly unknown[]): number | undefined {
  let count = 1;
  let hasZero = false;
  for (const size of shape) {
    if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) return undefined;
    if (size === 0) hasZero = true;
    else count *= size;
  }
  if (hasZero) return 0;
  return Number.isSafeInteger(count) ? count : undefined;
}

/** The bytes of a typed array, without a copy. */
export function bytesOf(data: StoredArray): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** What is wrong with a tensor that is about to be written; undefined if nothing is. */
export function describeMismatch(tensor: StoredTensor): string | undefined {
  if (!isStoredType(tensor.type)) return `unknown type ${String(tensor.type)}`;
  const expected = STORED_ARRAYS[tensor.type];
  if (!(tensor.data instanceof expected)) return `type ${tensor.type} needs a ${expected.name}`;
  const count = elementCount(tensor.shape);
  if (count !== tensor.data.length) return `shape [${tensor.shape.join(', ')}] does not fit ${tensor.data.length} elements`;
  return undefined;
}

/** The elements as float32, rounded to nearest; F32 is returned as it is, without a copy. */
export function toFloat32(tensor: StoredTensor): Float32Array {
  const { data, type } = tensor;
  if (data instanceof Float32Array) return data;
  const result = new Float32Array(data.length);
  if (type === 'F16') for (let i = 0; i < result.length; i++) result[i] = float16ToNumber(data[i] as number);
  else if (type === 'BF16') {
    const bits = new Uint32Array(result.buffer);
    for (let i = 0; i < bits.length; i++) bits[i] = (data[i] as number) << 16;
  } else for (let i = 0; i < result.length; i++) result[i] = Number(data[i]);
  return result;
}

/** The value of an IEEE 754 half-precision number given by its 16 bits. */
export function float16ToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Memory for a tensor of a file; calls `fail` if there is not enough, where a constructor would throw a RangeError. */
export function newBuffer(bytes: number, tensor: string, fail: Fail): ArrayBuffer {
  try {
    return new ArrayBuffer(bytes);
  } catch (error) {
    return fail(`not enough memory for its ${bytes} bytes`, tensor, error);
  }
}

const WORDS = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array, 8: BigUint64Array } as const;

/**
 * The elements of a strided view as a row-major array, bit by bit. `source` begins with the first element of the view and contains all of
 * it; strides count elements of `size` bytes.
 */
export function gather(source: ArrayBuffer, target: ArrayBuffer, size: number, shape: readonly number[], strides: readonly number[]): void {
  // As integers, because moving a NaN as a float may change its bits.
  const Words = WORDS[size as keyof typeof WORDS];
  const from = new Words(source, 0, Math.floor(source.byteLength / size));
  const to = new Words(target);
  const index = new Array<number>(shape.length).fill(0);
  let place = 0;
  for (let i = 0; i < to.length; i++) {
    to[i] = from[place] as never;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      index[axis] = (index[axis] as number) + 1;
      place += strides[axis] as number;
      if ((index[axis] as number) < (shape[axis] as number)) break;
      place -= (shape[axis] as number) * (strides[axis] as number);
      index[axis] = 0;
    }
  }
}
