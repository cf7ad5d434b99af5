/**
 * Random numbers without hidden state: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011). A number
 * depends only on its key and counter, not on timing, threads or the order of drawing.
 */
import { KernelWarehouseError } from './errors.js';

const TWO_TO_MINUS_32 = 2 ** -32;
const TWO_PI = 2 * Math.PI;

/** High 32 bits of a product of unsigned 32-bit integers, as a signed integer; the second factor is given in 16-bit halves. */
function multiplyHigh(a: number, high: number, low: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const middle = Math.imul(aHigh, low) + (Math.imul(aLow, low) >>> 16);
  const cross = Math.imul(aLow, high);
  // Sums of unsigned 32-bit values may exceed 2^32, so carries are computed from 16-bit halves.
  const sum = (middle & 0xffff) + (cross & 0xffff);
  return (Math.imul(aHigh, high) + (middle >>> 16) + (cross >>> 16) + (sum >>> 16)) | 0;
}

/**
 * One Philox4x32-10 block: four uniform unsigned 32-bit integers into `output` (no allocation).
 * Counter and key words are taken modulo 2^32.
 */
export function philox(c0: number, c1: number, c2: number, c3: number, k0: number, k1: number, output: Uint32Array): void {
  let x0 = c0 | 0;
  let x1 = c1 | 0;
  let x2 = c2 | 0;
  let x3 = c3 | 0;
  let key0 = k0 | 0;
  let key1 = k1 | 0;
  for (let round = 0; round < 10; round++) {
    const high0 = multiplyHigh(x0, 0xd251, 0x1f53);
    const low0 = Math.imul(x0, 0xd2511f53);
    const high1 = multiplyHigh(x2, 0xcd9e, 0x8d57);
    const low1 = Math.imul(x2, 0xcd9e8d57);
    x0 = high1 ^ x1 ^ key0;
    x1 = low1;
    x2 = high0 ^ x3 ^ key1;
    x3 = low0;
    key0 = (key0 + 0x9e3779b9) | 0;
    key1 = (key1 + 0xbb67ae85) | 0;
  }
  output[0] = x0;
  output[1] = x1;
  output[2] = x2;
  output[3] = x3;
}

/** FNV-1a, 32 bits, of the UTF-8 bytes of a name: turns names into key words. */
export function hashName(name: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

/** Throws ERR_KW_INVALID_ARGUMENT unless the seed is an integer from 0 to 2^32 - 1. */
export function validateSeed(seed: number): void {
  if (!Number.isInteger(seed) || seed < 0 || seed > 0xffffffff) {
    throw new KernelWarehouseError('ERR_KW_INVALID_ARGUMENT', `seed: expected an integer from 0 to 4294967295, got ${String(seed)}`);
  }
}

/**
 * The sequence of numbers for a seed and up to four ids (names, epochs, indices). Streams with different ids are independent. The first id
 * is the second key word, the others are counter words 1 to 3; counter word 0 counts the blocks drawn.
 */
export class RandomStream {
  private readonly seed: number;
  private readonly words: readonly [number, number, number, number];
  private readonly block = new Uint32Array(4);
  private drawn = 0;
  private spareNormal: number | undefined;

  constructor(seed: number, ...ids: readonly (number | string)[]) {
    validateSeed(seed);
    if (ids.length > 4)
      throw new KernelWarehouseError('ERR_KW_INVALID_ARGUMENT', `RandomStream: expected at most 4 ids, got ${ids.length}`);
    const word = (position: number): number => {
      const id = ids[position] ?? 0;
      return typeof id === 'string' ? hashName(id) : id;
    };
    this.seed = seed;
    this.words = [word(0), word(1), word(2), word(3)];
  }

  /** Uniform integer in [0, 2^32). */
  uint32(): number {
    const lane = this.drawn & 3;
    if (lane === 0) {
      const [key, c1, c2, c3] = this.words;
      philox(Math.floor(this.drawn / 4), c1, c2, c3, this.seed, key, this.block);
    }
    this.drawn++;
    return this.block[lane] as number;
  }

  /** Uniform number in [low, high), from 32 random bits. */
  uniform(low = 0, high = 1): number {
    return low + (high - low) * (this.uint32() * TWO_TO_MINUS_32);
  }

  /** Standard normal number (Box-Muller). */
  normal(): number {
    if (this.spareNormal !== undefined) {
      const spare = this.spareNormal;
      this.spareNormal = undefined;
      return spare;
    }
    const radius = Math.sqrt(-2 * Math.log((this.uint32() + 0.5) * TWO_TO_MINUS_32));
    const angle = TWO_PI * TWO_TO_MINUS_32 * this.uint32();
    this.spareNormal = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }

  /** Uniform integer in [0, bound), without bias; `bound` is an integer from 1 to 2^32. */
  integer(bound: number): number {
    if (!Number.isInteger(bound) || bound < 1 || bound > 2 ** 32) {
      throw new KernelWarehouseError('ERR_KW_INVALID_ARGUMENT', `integer: expected a bound from 1 to 4294967296, got ${String(bound)}`);
    }
    const limit = 2 ** 32 - (2 ** 32 % bound);
    for (;;) {
      const value = this.uint32();
      if (value < limit) return value % bound;
    }
  }

  /** Shuffles in place (Fisher-Yates) and returns the same array. */
  shuffle<T extends Uint32Array | Int32Array | unknown[]>(values: T): T {
    for (let last = values.length - 1; last > 0; last--) {
      const other = this.integer(last + 1);
      const moved = values[last];
      values[last] = values[other];
      values[other] = moved;
    }
    return values;
  }
}

/**
 * Fills `values` with normal numbers of mean 0 and the given standard deviation, in bulk: exactly the sequence of `new RandomStream(seed,
 * name).normal()`, times `standardDeviation`, rounded to float32.
 */
export function fillNormal(values: Float32Array, standardDeviation: number, seed: number, name: string): void {
  validateSeed(seed);
  const key = hashName(name);
  const block = new Uint32Array(4);
  for (let start = 0; start < values.length; start += 4) {
    philox(start / 4, 0, 0, 0, seed, key, block);
    for (let pair = 0; pair < 4; pair += 2) {
      const radius = standardDeviation * Math.sqrt(-2 * Math.log(((block[pair] as number) + 0.5) * TWO_TO_MINUS_32));
      const angle = TWO_PI * TWO_TO_MINUS_32 * (block[pair + 1] as number);
      // Writes past the end of a typed array are ignored, which is what the last block needs.
      values[start + pair] = radius * Math.cos(angle);
      values[start + pair + 1] = radius * Math.sin(angle);
    }
  }
}
