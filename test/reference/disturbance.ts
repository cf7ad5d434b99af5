/** What float32 may make of a value: used to see how far a computation moves by it. */
import { fillFrom } from '../golden/fill.js';

/** About what a float32 sum of some ten to a hundred terms is off by, beside the root mean square of a tensor. */
const kRelative = 2 ** -22;

/** Changes the values of a tensor in place. */
export type Disturb = (values: Float64Array) => void;

/** Adds uniform noise, the same for the same seed and the same tensors in the same order. */
export function disturbance(seed: number): Disturb {
  let tensors = 0;
  return (values) => {
    const size = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / Math.max(1, values.length));
    const noise = fillFrom(`disturbance ${seed}/${tensors++}`, -1, 1, values.length);
    for (let i = 0; i < values.length; i++) values[i]! += kRelative * size * noise[i]!;
  };
}
