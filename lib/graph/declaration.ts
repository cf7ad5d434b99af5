/** What is known of a stored tensor before it exists: name, PyTorch shape, order in memory, initial values. */

/** Initial values, as data. Ranges of axis 0 of a warehouse are initialised by the layers that own the cells. */
export type Initialization =
  | { readonly kind: 'zeros' }
  | { readonly kind: 'ones' }
  | { readonly kind: 'constant'; readonly value: number }
  /** Normal with mean 0 and this standard deviation. */
  | { readonly kind: 'normal'; readonly deviation: number }
  /** Uniform in [-bound, bound]. */
  | { readonly kind: 'uniform'; readonly bound: number }
  /** Cells start..end of axis 0 each with a deviation of their own. */
  | { readonly kind: 'cells'; readonly ranges: readonly { readonly start: number; readonly end: number; readonly deviation: number }[] };

export interface TensorDeclaration {
  /** The official state-dict name. */
  readonly name: string;
  /** In PyTorch's order. */
  readonly shape: readonly number[];
  /** The axis of PyTorch's order that is stored last; absent for tensors stored as they are. */
  readonly channelAxis?: number;
  readonly initialization: Initialization;
}

/** The shape in memory: the channel axis moved to the end. */
export function physicalShape(tensor: { readonly shape: readonly number[]; readonly channelAxis?: number }): readonly number[] {
  const { shape, channelAxis } = tensor;
  if (channelAxis === undefined) return shape;
  return [...shape.slice(0, channelAxis), ...shape.slice(channelAxis + 1), shape[channelAxis] as number];
}

type NumberArray = Float32Array | Float64Array;

function transpose(outer: number, rows: number, columns: number, from: ArrayLike<number>, to: NumberArray): void {
  for (let o = 0; o < outer; o++) {
    const base = o * rows * columns;
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < columns; c++) to[base + c * rows + r] = from[base + r * columns + c] as number;
    }
  }
}

function split(shape: readonly number[], channelAxis: number): [outer: number, channels: number, inner: number] {
  const product = (sizes: readonly number[]) => sizes.reduce((a, b) => a * b, 1);
  return [product(shape.slice(0, channelAxis)), shape[channelAxis] as number, product(shape.slice(channelAxis + 1))];
}

/** Copies `from` in PyTorch's order to `to` in memory order. `shape` is PyTorch's. */
export function toPhysical(shape: readonly number[], channelAxis: number | undefined, from: ArrayLike<number>, to: NumberArray): void {
  if (channelAxis === undefined) {
    to.set(from);
    return;
  }
  const [outer, channels, inner] = split(shape, channelAxis);
  transpose(outer, channels, inner, from, to);
}

/** Copies `from` in memory order to `to` in PyTorch's order. `shape` is PyTorch's. */
export function toLogical(shape: readonly number[], channelAxis: number | undefined, from: ArrayLike<number>, to: NumberArray): void {
  if (channelAxis === undefined) {
    to.set(from);
    return;
  }
  const [outer, channels, inner] = split(shape, channelAxis);
  transpose(outer, inner, channels, from, to);
}
