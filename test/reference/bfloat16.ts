/** bfloat16 as numbers: the float32 values whose lower 16 bits are zero. */
import type { DataType } from '../../lib/plan/plan.js';

/** To nearest, ties to even, by way of float32 as the devices do it. */
export function roundToBfloat16(value: number): number {
  const words = new Uint32Array(new Float32Array([value]).buffer);
  const word = words[0]!;
  if (Number.isNaN(value)) return value;
  // Unsigned wrap-around cannot happen: the largest word of a number is that of -Infinity, whose lower half is zero.
  words[0] = (word + 0x7fff + ((word >>> 16) & 1)) & 0xffff0000;
  return new Float32Array(words.buffer)[0]!;
}

/** What a tensor of `type` keeps of float64 values, where that is coarser than what tests distinguish: bfloat16 is rounded in place. */
export function keep(type: DataType, values: Float64Array): Float64Array {
  if (type === 'bfloat16') values.forEach((value, i) => (values[i] = roundToBfloat16(value)));
  return values;
}

/** The 16 bits of each value, which must be bfloat16 numbers. */
export function bitsOf(values: ArrayLike<number>): Uint16Array {
  return Uint16Array.from(new Uint32Array(Float32Array.from(values).buffer), (word) => word >>> 16);
}

export function fromBits(bits: Uint16Array): Float64Array {
  return Float64Array.from(new Float32Array(Uint32Array.from(bits, (each) => each << 16).buffer));
}
