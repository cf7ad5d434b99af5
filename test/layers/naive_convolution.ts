/** Convolution over any number of spatial dimensions by its definition, in PyTorch's order; the ops' reference shares none of it. */
import { elementCount, type Tensor, zeros } from '../reference/tensor.js';

export interface NaiveOptions {
  readonly stride: readonly number[];
  readonly padding: readonly number[];
  readonly dilation: readonly number[];
  readonly groups: number;
}

/** Every index of an array of this shape, row-major. */
export function* indices(shape: readonly number[]): Generator<readonly number[]> {
  for (let flat = 0; flat < elementCount(shape); flat++) {
    let rest = flat;
    const index = shape.map(() => 0);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      index[axis] = rest % shape[axis]!;
      rest = Math.floor(rest / shape[axis]!);
    }
    yield index;
  }
}

/** Row-major position; -1 outside. */
export function positionOf(shape: readonly number[], index: readonly number[]): number {
  return shape.reduce((position, size, axis) => {
    const inside = position >= 0 && index[axis]! >= 0 && index[axis]! < size;
    return inside ? position * size + index[axis]! : -1;
  }, 0);
}

/** y [N, O, ...] of x [N, C, ...sizes] and a weight [O, C/groups, ...kernel]. */
export function naiveConvolution(x: Tensor, weight: Tensor, bias: ArrayLike<number>, options: NaiveOptions): Tensor {
  const [samples, , ...sizes] = x.shape as [number, number, ...number[]];
  const [outChannels, perGroup, ...kernel] = weight.shape as [number, number, ...number[]];
  const { stride, padding, dilation, groups } = options;
  const outSizes = sizes.map((size, i) => Math.floor((size + 2 * padding[i]! - dilation[i]! * (kernel[i]! - 1) - 1) / stride[i]!) + 1);
  const y = zeros([samples, outChannels, ...outSizes]);
  let position = 0;
  for (const [sample, out, ...at] of indices(y.shape) as Iterable<[number, number, ...number[]]>) {
    const firstChannel = Math.floor(out / (outChannels / groups)) * perGroup;
    let sum = bias[out]!;
    for (const [channel, ...tap] of indices([perGroup, ...kernel]) as Iterable<[number, ...number[]]>) {
      const under = tap.map((offset, i) => at[i]! * stride[i]! - padding[i]! + offset * dilation[i]!);
      const inX = positionOf(x.shape, [sample, firstChannel + channel, ...under]);
      if (inX >= 0) sum += x.data[inX]! * weight.data[positionOf(weight.shape, [out, channel, ...tap])]!;
    }
    y.data[position++] = sum;
  }
  return y;
}
