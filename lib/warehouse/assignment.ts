/**
 * Which cell each mixture starts from: β of the contrasting attention (paper, equation 4 and appendix, "attentions initialization
 * strategy"). One-to-one: no cell is bound twice, and with b < 1 the mixtures that go without are bound to the zero cell e_z.
 */
import { KernelWarehouseError } from '../errors.js';
import { formatRatio } from './partition.js';

/** Cells of a warehouse: n = floor(b * m), at least 1. */
export function cellCount(mixtures: number, budget: number): number {
  return Math.max(Math.floor(mixtures * budget), 1);
}

/** Of every Q*Q mixtures of a layer, the Q on the diagonal own a cell; Q = floor(1/b). */
function ownsCell(mixture: number, period: number): boolean {
  return mixture % period === Math.floor(mixture / period) % period;
}

/** How many cells the one-to-one assignment gives to a layer of so many mixtures. */
export function cellsOfLayer(mixtures: number, budget: number): number {
  if (budget >= 1) return mixtures * Math.floor(budget);
  const period = Math.floor(1 / budget);
  const rows = Math.floor(mixtures / period);
  return rows + (mixtures % period > rows % period ? 1 : 0);
}

/**
 * β of one layer: for each mixture the cells where it is 1. Cells `start` .. `start + cellsOfLayer` are bound, each to one mixture;
 * with b > 1 every floor(b)-th one, the others being free at first.
 * @param cells n of the warehouse, which is also the index of the zero cell.
 */
export function assignCells(mixtures: number, cells: number, budget: number, start: number): readonly (readonly number[])[] {
  if (budget >= 1) return Array.from({ length: mixtures }, (_, mixture) => [start + mixture * Math.floor(budget)]);
  const period = Math.floor(1 / budget);
  let next = start;
  return Array.from({ length: mixtures }, (_, mixture) => [ownsCell(mixture, period) ? next++ : cells]);
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** Whether the layers' own cells together are exactly the warehouse's. */
function fits(mixtures: readonly number[], budget: number): boolean {
  return sum(mixtures.map((count) => cellsOfLayer(count, budget))) === cellCount(sum(mixtures), budget);
}

/** The next legal budgets above and below an illegal one. */
function nearestBudgets(mixtures: readonly number[], budget: number): string[] {
  if (budget > 1) return [Math.floor(budget), Math.ceil(budget)].map(String);
  const period = Math.floor(1 / budget);
  const legal = (candidate: number): boolean => 1 / candidate !== budget && fits(mixtures, 1 / candidate);
  let above = period;
  while (above > 1 && !legal(above)) above--;
  let below = period + 1;
  const last = sum(mixtures);
  while (below <= last && !legal(below)) below++;
  return below <= last ? [formatRatio(1, above), formatRatio(1, below)] : [formatRatio(1, above)];
}

/**
 * Throws ERR_KW_ALLOCATION, with the nearest legal budgets, unless the one-to-one assignment uses a warehouse's cells up exactly.
 * Whole budgets always do; a budget below 1 must be 1/Q and fit the layers' numbers of mixtures.
 */
export function validateBudget(warehouse: string, mixtures: readonly number[], budget: number): void {
  if (fits(mixtures, budget)) return;
  const total = sum(mixtures);
  const used = sum(mixtures.map((count) => cellsOfLayer(count, budget)));
  throw new KernelWarehouseError(
    'ERR_KW_ALLOCATION',
    `warehouse ${warehouse}: budget ${budget} gives ${cellCount(total, budget)} cells to ${total} mixtures, but the one-to-one assignment ` +
      `of the layers' ${mixtures.join(' + ')} mixtures needs ${used}; nearest legal budgets: ${nearestBudgets(mixtures, budget).join(', ')}` +
      (budget < 1 ? ' (or cut finer cells with cellInRatio and cellOutRatio)' : ''),
  );
}
