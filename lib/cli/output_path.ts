/** Checks where a command will write, before the work, which can take long. */
import { realpathSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { KernelWarehouseError } from '../errors.js';

/** The file that a path leads to, through links; for a file that does not exist yet, the one that would be made. */
function realPath(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined;
  }
}

/**
 * The file that writing to `output` would make or replace.
 * @param inputs what the command reads
 * @throws ERR_KW_INVALID_ARGUMENT when there is no folder for it, when it is a folder, or one of the inputs.
 */
export function checkedOutput(output: string, inputs: readonly (string | undefined)[]): string {
  const fail = (problem: string): never => {
    throw new KernelWarehouseError('ERR_KW_INVALID_ARGUMENT', `${output}: ${problem}`);
  };
  const folder = realPath(dirname(output)) ?? fail(`there is no folder ${dirname(output)} to write it to`);
  const target = realPath(output) ?? join(folder, basename(output));
  if (statSync(target, { throwIfNoEntry: false })?.isDirectory()) fail('expected a file to write, but it is a folder; add a file name');
  const replaced = inputs.find((input) => input !== undefined && realPath(input) === target);
  if (replaced !== undefined) fail(`writing it would replace ${replaced}, which is read here; choose another name`);
  return target;
}
