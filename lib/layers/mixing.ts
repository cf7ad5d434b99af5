/**
 * The weight of a sample as mixtures of stored cells (paper, section 3.2). The kernels that DY-Conv, ODConv and CondConv mix are the cells
 * of a warehouse of one layer, whose weight is a single mixture (section 3.5).
 */
import type { Value } from '../graph/graph.js';
import { channels, elements } from '../graph/operation.js';
import { concat } from '../graph/ops/concat.js';
import { fill } from '../graph/ops/fill.js';
import { type MixAttributes, mixCells } from '../graph/ops/mix_cells.js';
import { reshape } from '../graph/ops/reshape.js';
import { slice } from '../graph/ops/slice.js';
import type { ConvolutionSpec } from './layer.js';

/**
 * Spatial sizes as rows and columns. Mixing needs no more, because it counts positions in row-major order, and a cell is one position or
 * the whole kernel.
 */
function rowsAndColumns(sizes: readonly number[]): readonly [number, number] {
  return [elements(sizes.slice(0, -1)), sizes.at(-1) as number];
}

/** Cells [n, fe, keh, kew, ce] of a stored tensor [n, fe, ...cell kernel, ce]. */
export function cellsOf(stored: Value): Value {
  const [count, outChannels, ...kernel] = stored.shape.slice(0, -1) as [number, number, ...number[]];
  return reshape(stored, [count, outChannels, ...rowsAndColumns(kernel), channels(stored)]);
}

/** The weight [N, O, kh, kw, I] of each sample of the layer `spec`, from attention [N, m, n] and the cells of `cellsOf`. */
export function mixWeight(attention: Value, cells: Value, spec: ConvolutionSpec): Value {
  const mixing: MixAttributes = {
    outChannels: spec.outChannels,
    inChannels: spec.inChannels / spec.groups,
    kernel: rowsAndColumns(spec.kernel),
  };
  return mixCells(attention, cells, mixing);
}

/**
 * Spreads attention [N, m, b] for each mixture's own cells to attention [N, m, n] for all cells, with zeros for the others. Mixture i owns
 * the b cells from start + i * b.
 */
export function spreadOverCells(own: Value, start: number, cells: number): Value {
  const [samples, mixtures, each] = own.shape as [number, number, number];
  if (each === cells) return own;
  // In memory, each row begins n after the one before, and its own cells are b further right: n + b from one row's cells to the next's.
  const padded = concat([reshape(own, [samples * mixtures, each]), fill(own.graph, [samples * mixtures, cells], 0)]);
  const rows = reshape(padded, [samples, mixtures * (each + cells)]);
  const shifted = start > 0 ? concat([fill(own.graph, [samples, start], 0), rows]) : rows;
  return reshape(slice(shifted, 0, mixtures * cells), [samples, mixtures, cells]);
}
