/** Suggestions for misspelt names. */
import { KernelWarehouseError } from '../errors.js';

/** Insertions, deletions and replacements of one character that turn `a` into `b` (Levenshtein distance). */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const replaced = (previous[column - 1] as number) + (a[row - 1] === b[column - 1] ? 0 : 1);
      current.push(Math.min(replaced, (previous[column] as number) + 1, (current[column - 1] as number) + 1));
    }
    previous = current;
  }
  return previous[b.length] as number;
}

/** The known name closest to a misspelt one; `undefined` when every one would need more than `share` of its letters changed. */
export function nearestName(name: string, known: Iterable<string>, share = 1 / 2): string | undefined {
  let nearest: string | undefined;
  let smallest = name.length * share;
  for (const candidate of known) {
    const distance = editDistance(name, candidate);
    if (distance <= smallest && (nearest === undefined || distance < smallest)) {
      nearest = candidate;
      smallest = distance;
    }
  }
  return nearest;
}

/** What to say after an unknown name: the nearest known one, or all when none is near. */
export function suggestion(name: string, known: readonly string[]): string {
  const nearest = nearestName(name, known);
  return nearest === undefined ? `; known are ${known.join(', ')}` : `; did you mean '${nearest}'?`;
}

/**
 * Refuses options that do not exist, which would otherwise have no effect and no one would know.
 * @param place names what they are options of in messages
 * @throws ERR_KW_INVALID_ARGUMENT with the nearest name
 */
export function checkNames(options: unknown, known: readonly string[], place: string): void {
  const fail = (problem: string): never => {
    throw new KernelWarehouseError('ERR_KW_INVALID_ARGUMENT', `${place}: ${problem}`);
  };
  if (typeof options !== 'object' || options === null || Array.isArray(options)) fail(`expected an object, got ${describe(options)}`);
  for (const name of Object.keys(options as object)) {
    if (!known.includes(name)) fail(`unknown option '${name}'${suggestion(name, known)}`);
  }
}

/** A value in few words. */
export function describe(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  return typeof value === 'object' && value !== null ? `an object of class ${value.constructor?.name ?? 'none'}` : String(value);
}
