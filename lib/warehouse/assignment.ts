/**
 * Which cells a layer owns, and from which cells each mixture starts: β of the attention (paper, equation 4 and appendix A.2, "attentions
 * initialization strategy").
 */
import { KernelWarehouseError } from '../errors.js';
import { formatRatio } from './partition.js';

/**
 * The kinds of β (paper, Tables 9 and 13).
 * - `oneToOne`: each cell is bound to one mixture; with b < 1 the remaining mixtures are bound to the zero cell e_z.
 * - `allToOne`: every mixture is bound to all cells alike.
 * - `none`: there is no β, and the attention never depends on the temperature.
 * - `severalToOne`, for b = k > 1: each mixture is bound to k cells, and no cell twice.
 * - `oneToSeveral`, for b = 1/k: each cell is bound to k consecutive mixtures.
 */
export type AttentionInitialization = 'oneToOne' | 'allToOne' | 'none' | 'severalToOne' | 'oneToSeveral';

export const attentionInitializations: readonly AttentionInitialization[] = [
  'oneToOne',
  'allToOne',
  'none',
  'severalToOne',
  'oneToSeveral',
];

/** Cells of a warehouse: n = floor(b * m), at least 1. */
export function cellCount(mixtures: number, budget: number): number {
  return Math.max(Math.floor(mixtures * budget), 1);
}

/** Of every Q*Q mixtures of a layer, the Q on the diagonal own a cell; Q = floor(1/b). */
function ownsCell(mixture: number, period: number): boolean {
  return mixture % period === Math.floor(mixture / period) % period;
}

/** How many cells the one-to-one assignment gives to a layer with this many mixtures. */
export function cellsOfLayer(mixtures: number, budget: number): number {
  if (budget >= 1) return mixtures * Math.floor(budget);
  const period = Math.floor(1 / budget);
  const rows = Math.floor(mixtures / period);
  return rows + (mixtures % period > rows % period ? 1 : 0);
}

function range(start: number, count: number): number[] {
  return Array.from({ length: count }, (_, index) => start + index);
}

/**
 * β of one layer: for each mixture, the cells where it is 1; empty if there is none. The layer's own cells are `start` .. `start +
 * cellsOfLayer`. The budget must be one that `validateInitialization` accepts.
 * @param cells n of the warehouse, which is also the index of the zero cell.
 */
export function assignCells(
  mixtures: number,
  cells: number,
  budget: number,
  start: number,
  initialization: AttentionInitialization = 'oneToOne',
): readonly (readonly number[])[] {
  const each = (assign: (mixture: number) => number[]) => range(0, mixtures).map(assign);
  const several = Math.floor(budget);
  const period = Math.floor(1 / budget);
  switch (initialization) {
    case 'none':
      return [];
    case 'allToOne':
      return each(() => range(0, cells));
    case 'severalToOne':
      return each((mixture) => range(start + mixture * several, several));
    case 'oneToSeveral':
      return each((mixture) => [start + Math.floor(mixture / period)]);
    case 'oneToOne': {
      if (budget >= 1) return each((mixture) => [start + mixture * several]);
      let next = start;
      return each((mixture) => [ownsCell(mixture, period) ? next++ : cells]);
    }
  }
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
 * Throws ERR_KW_ALLOCATION, with the nearest legal budgets, unless the one-to-one assignment uses every cell of a warehouse exactly once.
 * Whole budgets always do; a budget below 1 must be 1/Q and suit the layers' numbers of mixtures.
 */
export function validateBudget(warehouse: string, mixtures: readonly number[], budget: number): void {
  if (fits(mixtures, budget)) return;
  const total = sum(mixtures);
  const used = sum(mixtures.map((count) => cellsOfLayer(count, budget)));
  throw new KernelWarehouseError(
    'ERR_KW_ALLOCATION',
    `warehouse ${warehouse}: budget ${budget} gives ${cellCount(total, budget)} cells to ${total} mixtures, but the ` +
      `one-to-one assignment of the layers' ${mixtures.join(' + ')} mixtures needs ${used}; ` +
      `nearest legal budgets: ${nearestBudgets(mixtures, budget).join(', ')}` +
      (budget < 1 ? ' (or cut finer cells with cellInRatio and cellOutRatio)' : ''),
  );
}

/**
 * Throws ERR_KW_ALLOCATION, with the remedy, for a budget that an initialization does not support: `severalToOne` needs a whole budget
 * above 1, `oneToSeveral` a budget of 1/k whose k divides the mixtures of every layer.
 */
export function validateInitialization(
  warehouse: string,
  mixtures: readonly number[],
  budget: number,
  initialization: AttentionInitialization,
): void {
  const fail = (message: string): never => {
    throw new KernelWarehouseError('ERR_KW_ALLOCATION', `warehouse ${warehouse}: attentionInitialization ${initialization} ${message}`);
  };
  if (initialization === 'severalToOne' && budget <= 1) {
    const remedy = budget < 1 ? 'oneToOne or oneToSeveral' : 'oneToOne';
    fail(`needs a budget of 2 or more, so that each mixture has several cells, got ${budget}; use ${remedy} here`);
  }
  if (initialization !== 'oneToSeveral') return;
  if (budget >= 1) fail(`needs a budget below 1, got ${budget}; use ${budget > 1 ? 'oneToOne or severalToOne' : 'oneToOne'} here`);
  const period = Math.floor(1 / budget);
  if (mixtures.some((count) => count % period !== 0)) {
    fail(
      `binds each cell to ${period} mixtures of one layer, but the layers have ${mixtures.join(', ')}; cut finer cells with cellInRatio ` +
        'and cellOutRatio, or use oneToOne here',
    );
  }
}
