/** A figure that was measured several times: its median, and how far the values lie apart. */

export interface Spread {
  readonly median: number;
  /** A quarter of the values lie below. */
  readonly lowerQuartile: number;
  /** A quarter of the values lie above. */
  readonly upperQuartile: number;
  readonly minimum: number;
  readonly maximum: number;
}

/** @param values at least one */
export function spread(values: readonly number[]): Spread {
  const at = (part: number) => quantile(values, part);
  return { median: at(0.5), lowerQuartile: at(0.25), upperQuartile: at(0.75), minimum: at(0), maximum: at(1) };
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** Linear between the two nearest of the sorted values. */
function quantile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const place = part * (sorted.length - 1);
  const below = Math.floor(place);
  const lower = sorted[below] as number;
  return lower + (place - below) * ((sorted[below + 1] ?? lower) - lower);
}
