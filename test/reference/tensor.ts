/** The reference's numbers: dense, row-major, physical (channels-last) order, always float64. Integers are held as exact doubles. */
export interface Tensor {
  readonly shape: readonly number[];
  readonly data: Float64Array;
  /** Whether it is stored as bfloat16: an op with such an input rounds its operands as docs/ops.md says. */
  readonly isBfloat16?: boolean;
}

export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

export function zeros(shape: readonly number[]): Tensor {
  return { shape, data: new Float64Array(elementCount(shape)) };
}

/** A tensor of `shape` over `data`; throws when their sizes differ. */
export function tensorOf(shape: readonly number[], data: ArrayLike<number>): Tensor {
  if (data.length !== elementCount(shape))
    throw new Error(`expected ${elementCount(shape)} values for shape [${shape}] but received ${data.length}`);
  return { shape, data: data instanceof Float64Array ? data : Float64Array.from(data) };
}

export function scalar(value: number): Tensor {
  return { shape: [], data: Float64Array.of(value) };
}

/** Size of axis `axis`, counted from the end when negative. */
export function size(tensor: Tensor, axis: number): number {
  const value = tensor.shape.at(axis);
  if (value === undefined) throw new Error(`no axis ${axis} in shape [${tensor.shape}]`);
  return value;
}
