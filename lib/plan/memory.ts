/** Gives every tensor in the workspace an offset, so that tensors in use at the same time never overlap. */

export interface Lifetime {
  /** Bytes. */
  readonly size: number;
  /** First and last step, inclusive. */
  readonly first: number;
  readonly last: number;
}

export interface Placement {
  readonly offsets: readonly number[];
  /** Bytes of the whole workspace. */
  readonly size: number;
}

const alignment = 64;

/** Greedy: the largest first, each at the lowest offset that is free during its whole lifetime. */
export function placeLifetimes(lifetimes: readonly Lifetime[]): Placement {
  const order = lifetimes.map((_, index) => index);
  const at = (index: number) => lifetimes[index] as Lifetime;
  order.sort((a, b) => at(b).size - at(a).size || at(a).first - at(b).first || a - b);
  const offsets = new Array<number>(lifetimes.length).fill(0);
  const placed: number[] = []; // sorted by offset
  let total = 0;
  for (const index of order) {
    const { size, first, last } = at(index);
    const rounded = Math.ceil(size / alignment) * alignment;
    let offset = 0;
    for (const other of placed) {
      const neighbour = at(other);
      if (neighbour.last < first || neighbour.first > last) continue;
      const start = offsets[other] as number;
      if (start >= offset + rounded) break;
      offset = Math.max(offset, start + Math.ceil(neighbour.size / alignment) * alignment);
    }
    offsets[index] = offset;
    total = Math.max(total, offset + rounded);
    let position = placed.length;
    while (position > 0 && (offsets[placed[position - 1] as number] as number) > offset) position--;
    placed.splice(position, 0, index);
  }
  return { offsets, size: total };
}
