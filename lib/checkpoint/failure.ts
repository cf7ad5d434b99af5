/** Failures of reading and writing checkpoints. Text from a file may be anything, so it is shown cut and on one line. */
import { KernelWarehouseError } from '../errors.js';

const SHOWN_CHARACTERS = 120;
/** Characters that end a line, move the cursor, or change the direction of text. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\u2028\u2029]/gu;

/** Throws an error that says what is wrong with a file and, where possible, with which of its tensors. */
export type Fail = (problem: string, tensor?: string, cause?: unknown) => never;

/** Text from a file, such as a tensor's name, in quotes. */
export function shown(text: string): string {
  const quoted = JSON.stringify(text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}...` : text);
  return quoted.replace(UNPRINTABLE, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`);
}

/** The failure of a file: ERR_KW_CHECKPOINT, in one line. */
export function failureOf(path: string): Fail {
  return (problem, tensor, cause) => {
    const where = tensor === undefined ? path : `${path}, tensor ${shown(tensor)}`;
    // Parsers quote what they could not read, with its line breaks.
    const line = problem.replace(UNPRINTABLE, ' ');
    throw new KernelWarehouseError('ERR_KW_CHECKPOINT', `${where}: ${line}`, cause === undefined ? undefined : { cause });
  };
}

/** An error of the operating system as that of a checkpoint; our own errors are passed on. */
export function asCheckpointError(path: string, problem: string, error: unknown): KernelWarehouseError {
  if (error instanceof KernelWarehouseError) return error;
  return new KernelWarehouseError('ERR_KW_CHECKPOINT', `${path}: ${problem}: ${(error as Error).message}`, { cause: error });
}
