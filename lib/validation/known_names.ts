/** Messages about unknown names and options. */
import { type ErrorCode, KernelWarehouseError } from '../errors.js';
import { nearestName } from './nearest_name.js';

/** Text to put after an unknown name: the nearest known one, or all of them if none is near. */
export function suggestion(name: string, known: readonly string[]): string {
  const nearest = nearestName(name, known);
  return nearest === undefined ? `; known are ${known.join(', ')}.` : `; did you mean '${nearest}'?`;
}

/**
 * Refuses options that do not exist: they would have no effect, and nobody would notice.
 * @param place says in messages what they are options of
 * @throws an error with the given code and the nearest name
 */
export function checkNames(options: unknown, known: readonly string[], place: string, code: ErrorCode = 'ERR_KW_INVALID_ARGUMENT'): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw new KernelWarehouseError(code, `${place}: expected an object of ${known.join(', ')}, got ${shortly(options)}`);
  }
  for (const name of Object.keys(options)) {
    if (!known.includes(name)) throw new KernelWarehouseError(code, `${place}: unknown option '${name}'${suggestion(name, known)}`);
  }
}

/** A value in few words. */
export function shortly(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'function') return 'a function';
  return typeof value === 'object' && value !== null ? `an object of class ${value.constructor?.name ?? 'none'}` : JSON.stringify(value);
}
