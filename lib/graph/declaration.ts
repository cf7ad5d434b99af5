/** A stored tensor before it exists: name, PyTorch shape, order in memory, initial values. */

/** Initial values, as data. The cells of a warehouse are initialized in ranges of axis 0, by the layers that own them. */
export type Initialization =
  | { readonly kind: 'zeros' }
  | { readonly kind: 'ones' }
  | { readonly kind: 'constant'; readonly value: number }
  /** Normal with mean 0 and this standard deviation. */
  | { readonly kind: 'normal'; readonly deviation: number }
  /** Uniform in [-bound, bound]. */
  | { readonly kind: 'uniform'; readonly bound: number }
  /** Cells start..end of axis 0, each range with its own deviation. */
  | { readonly kind: 'cells'; readonly ranges: readonly { readonly start: number; readonly end: number; readonly deviation: number }[] };

/** The axis of PyTorch's order that is stored last, or the first and last of several adjacent ones. */
export type ChannelAxis = number | readonly [first: number, last: number];

export interface TensorDeclaration {
  /** The official state-dict name. */
  readonly name: string;
  /** In PyTorch's order. */
  readonly shape: readonly number[];
  /** Absent for tensors that are stored in PyTorch's order. */
  readonly channelAxis?: ChannelAxis;
  readonly initialization: Initialization;
}

/** The axes of a shape before the channel axis (or axes), the channel axes, and those after them. */
function parts(
  shape: readonly number[],
  channelAxis: ChannelAxis,
): [before: readonly number[], channels: readonly number[], after: readonly number[]] {
  const [first, last] = typeof channelAxis === 'number' ? [channelAxis, channelAxis] : channelAxis;
  return [shape.slice(0, first), shape.slice(first, last + 1), shape.slice(last + 1)];
}

/** The shape in memory: the channel axis moved to the end. */
export function physicalShape({ shape, channelAxis }: Pick<TensorDeclaration, 'shape' | 'channelAxis'>): readonly number[] {
  if (channelAxis === undefined) return shape;
  const [before, channels, after] = parts(shape, channelAxis);
  return [...before, ...after, ...channels];
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

function split(shape: readonly number[], channelAxis: ChannelAxis): [outer: number, channels: number, inner: number] {
  const product = (sizes: readonly number[]) => sizes.reduce((a, b) => a * b, 1);
  const [before, channels, after] = parts(shape, channelAxis);
  return [product(before), product(channels), product(after)];
}

/** Copies `from` in PyTorch's order to `to` in memory order. `shape` is PyTorch's. */
export function toPhysical(shape: readonly number[], channelAxis: ChannelAxis | undefined, from: ArrayLike<number>, to: NumberArray): void {
  if (channelAxis === undefined) {
    to.set(from);
    return;
  }
  const [outer, channels, inner] = split(shape, channelAxis);
  transpose(outer, channels, inner, from, to);
}

/** Copies `from` in memory order to `to` in PyTorch's order. `shape` is PyTorch's. */
export function toLogical(shape: readonly number[], channelAxis: ChannelAxis | undefined, from: ArrayLike<number>, to: NumberArray): void {
  if (channelAxis === undefined) {
    to.set(from);
    return;
  }
  const [outer, channels, inner] = split(shape, channelAxis);
  transpose(outer, inner, channels, from, to);
}
