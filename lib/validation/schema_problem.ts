/** A problem that a schema found with a value, in the words of this package's errors. */
import type { z } from 'zod';

function partAt(value: unknown, path: readonly PropertyKey[]): unknown {
  let part = value;
  for (const key of path) part = (part as Record<PropertyKey, unknown> | undefined)?.[key];
  return part;
}

/** Says what was expected and what came, such as `expected number to be >0, got -1`, for one issue from parsing `value`. */
export function expectation({ path, message }: Pick<z.core.$ZodIssue, 'path' | 'message'>, value: unknown): string {
  // zod says 'Too big: expected ...' and 'Invalid input: expected ..., received <type>'; the value itself says more.
  const expected = message.replace(/^[^:]*: (?=expected)/, '').replace(/, received .*$/, '');
  const part = partAt(value, path);
  return `${expected}, got ${part === undefined ? 'nothing' : JSON.stringify(part)}`;
}
