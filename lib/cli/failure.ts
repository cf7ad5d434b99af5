/** How the program ends when something is wrong: one clear line on standard error, never a stack trace unless KW_DEBUG=1. */
import { CommanderError } from 'commander';
import { KernelWarehouseError } from '../errors.js';

/** The command line is fine, but the work failed. */
export const RUNTIME_FAILURE = 1;
/** The command line itself is wrong. */
export const USAGE_FAILURE = 2;

/** Writes what went wrong and returns the exit status. Commander has already written its own messages. */
export function reportFailure(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : USAGE_FAILURE;
  const isOurs = error instanceof KernelWarehouseError;
  // Errors of the operating system carry a code and say what could not be done with which file.
  const isSystem = error instanceof Error && 'code' in error;
  const message = error instanceof Error ? error.message : String(error);
  const hint = isOurs || isSystem ? '' : ' (unexpected; KW_DEBUG=1 shows where)';
  process.stderr.write(`kernel-warehouse: ${message}${hint}\n`);
  if (process.env.KW_DEBUG === '1' && error instanceof Error) process.stderr.write(`${error.stack}\n`);
  return RUNTIME_FAILURE;
}
