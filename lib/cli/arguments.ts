/** What the command lines share: checked numbers, and the options of everything that computes. */
import { type Command, InvalidArgumentError } from 'commander';
import type { Precision } from '../graph/passes/precision.js';
import { type DeviceName, isDeviceName } from '../runtime/device.js';

export interface DeviceFlags {
  readonly device: DeviceName;
  readonly threads?: number;
  readonly gpu?: number;
  readonly tf32?: true;
}

/** `--device` and the options with which it is opened. */
export function addDeviceOptions(command: Command): Command {
  return command
    .option('--device <name>', 'where to run: auto, cpu, cuda, or the name of another plug-in', deviceName, 'auto')
    .option(
      '--threads <count>',
      'threads to compute with, 1 to 1024 (default: KW_NUM_THREADS, or the physical cores)',
      wholeNumber(1, 1024),
    )
    .option('--gpu <index>', 'which GPU, from 0 (default: 0)', wholeNumber(0, 1023))
    .option('--tf32', 'let a GPU round float32 products to TF32, which is faster');
}

function deviceName(text: string): DeviceName {
  if (isDeviceName(text)) return text;
  throw new InvalidArgumentError('Allowed choices are auto, cpu, cuda.');
}

/** The words for precisions; the short one is common in the field. */
export const precisionWords = 'float32, bf16 (bfloat16)';

/** A parser of a precision. */
export function precisionOf(text: string): Precision {
  if (text === 'float32') return text;
  if (text === 'bf16' || text === 'bfloat16') return 'bfloat16';
  throw new InvalidArgumentError(`Allowed choices are ${precisionWords}.`);
}

/** A parser of whole numbers from `least` to `most`, written in digits. */
export function wholeNumber(least: number, most = Number.MAX_SAFE_INTEGER): (text: string) => number {
  const range = most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `from ${least} to ${most}`;
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= least && value <= most)) throw new InvalidArgumentError(`Expected a whole number ${range}.`);
    return value;
  };
}

/** Limits of a number: `above` and `below` are exclusive, `least` and `most` inclusive. */
export interface NumberRange {
  readonly above?: number;
  readonly least?: number;
  readonly below?: number;
  readonly most?: number;
}

/** A parser of finite decimal numbers such as `0.05` and `1e-4`. */
export function decimalNumber({ above, least, below, most }: NumberRange): (text: string) => number {
  const limits = [
    above === undefined ? undefined : `above ${above}`,
    least === undefined ? undefined : `of at least ${least}`,
    below === undefined ? undefined : `below ${below}`,
    most === undefined ? undefined : `at most ${most}`,
  ].filter((limit) => limit !== undefined);
  return (text) => {
    const value = parseDecimal(text);
    const inside =
      value > (above ?? -Infinity) && value >= (least ?? -Infinity) && value < (below ?? Infinity) && value <= (most ?? Infinity);
    if (!inside) throw new InvalidArgumentError(`Expected a number ${limits.join(' and ')}.`);
    return value;
  };
}

/** A parser of three numbers, for red, green and blue, such as `0.5,0.5,0.5`. */
export function threeNumbers({ above = -Infinity }: { readonly above?: number } = {}): (text: string) => [number, number, number] {
  return (text) => {
    const values = text.split(',').map((part) => parseDecimal(part.trim()));
    if (values.length !== 3 || !values.every((value) => value > above)) {
      throw new InvalidArgumentError(
        `Expected three numbers${above > -Infinity ? ` above ${above}` : ''} with commas, such as 0.5,0.5,0.5.`,
      );
    }
    return values as [number, number, number];
  };
}

/** NaN for anything but a finite number; `Number` alone would accept '' and '0x10'. */
function parseDecimal(text: string): number {
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) && Number.isFinite(Number(text)) ? Number(text) : Number.NaN;
}

/** The command that started this program, as the user can type it again. */
export function programWords(): string {
  const [, script = ''] = process.argv;
  if (/[\\/]node_modules[\\/]\.bin[\\/]/.test(script)) return 'npx kernel-warehouse';
  if (/[\\/]kernel-warehouse$/.test(script)) return 'kernel-warehouse';
  const here = `${process.cwd()}/`;
  return `node ${quoted(script.startsWith(here) ? script.slice(here.length) : script)}`;
}

/** A word for a POSIX shell. */
export function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
