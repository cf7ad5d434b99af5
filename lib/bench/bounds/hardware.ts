/** Graphics processors as data: the figures from which `bench --bounds` chooses kernels and computes bounds, and the source of each. */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { KernelWarehouseError } from '../../errors.js';
import { expectation } from '../../validation/schema_problem.js';

/** One processor. Every figure carries its unit in its name; tera is a power of ten, kibi and mebi are powers of two. */
export interface Hardware {
  readonly name: string;
  /** Dense matrix products on tensor cores, inputs bfloat16, sums float32. */
  readonly bfloat16TeraflopsPerSecond: number;
  /** The same with TF32 inputs. */
  readonly tf32TeraflopsPerSecond: number;
  /** Float32 outside of tensor cores. */
  readonly float32TeraflopsPerSecond: number;
  readonly memoryTerabytesPerSecond: number;
  /** Between the L2 cache and the cores. */
  readonly l2TerabytesPerSecond: number;
  readonly l2Mebibytes: number;
  readonly multiprocessors: number;
  /** The most shared memory that one block may use. */
  readonly sharedKibibytesPerBlock: number;
  /** To launch a kernel inside a captured graph. */
  readonly launchMicroseconds: number;
  /** The source of each figure: measured, from a datasheet, or guessed. */
  readonly sources: Readonly<Partial<Record<HardwareFigure, string>>>;
}

export type HardwareFigure = Exclude<keyof Hardware, 'name' | 'sources'>;

const h100: Hardware = {
  name: 'h100',
  bfloat16TeraflopsPerSecond: 800,
  tf32TeraflopsPerSecond: 400,
  float32TeraflopsPerSecond: 60,
  memoryTerabytesPerSecond: 3.35,
  l2TerabytesPerSecond: 5.5,
  l2Mebibytes: 50,
  multiprocessors: 132,
  sharedKibibytesPerBlock: 227,
  launchMicroseconds: 1,
  sources: {
    bfloat16TeraflopsPerSecond: 'measured once by a large product: 798; datasheet (SXM5): 989',
    tf32TeraflopsPerSecond: 'guess: half of the bfloat16 rate, as in the datasheet',
    float32TeraflopsPerSecond: 'guess: what large products reach of the datasheet 67',
    memoryTerabytesPerSecond: 'datasheet (SXM5, HBM3); a copy was measured at 3.0',
    l2TerabytesPerSecond: 'guess, after published measurements of H100 PCIe cards',
    l2Mebibytes: 'datasheet',
    multiprocessors: 'datasheet (SXM5)',
    sharedKibibytesPerBlock: 'CUDA programming guide, compute capability 9.0',
    launchMicroseconds: 'published measurements of small kernels in CUDA graphs: 1.1 to 1.3, 0.6 on another card',
  },
};

const a100: Hardware = {
  name: 'a100',
  bfloat16TeraflopsPerSecond: 312,
  tf32TeraflopsPerSecond: 156,
  float32TeraflopsPerSecond: 19.5,
  memoryTerabytesPerSecond: 2.04,
  l2TerabytesPerSecond: 4.3,
  l2Mebibytes: 40,
  multiprocessors: 108,
  sharedKibibytesPerBlock: 163,
  launchMicroseconds: 1,
  sources: {
    bfloat16TeraflopsPerSecond: 'datasheet (SXM4)',
    tf32TeraflopsPerSecond: 'datasheet (SXM4)',
    float32TeraflopsPerSecond: 'datasheet (SXM4)',
    memoryTerabytesPerSecond: 'datasheet (SXM4, 80 GB)',
    l2TerabytesPerSecond: 'guess: 0.6 of 5120 bytes a clock at 1.41 GHz, the figure of the architecture',
    l2Mebibytes: 'datasheet',
    multiprocessors: 'datasheet',
    sharedKibibytesPerBlock: 'CUDA programming guide, compute capability 8.0',
    launchMicroseconds: 'guess: as h100',
  },
};

const known: ReadonlyMap<string, Hardware> = new Map([h100, a100].map((hardware) => [hardware.name, hardware]));

export const hardwareNames: readonly string[] = [...known.keys()];

const positive = z.number().positive();
const figures = {
  bfloat16TeraflopsPerSecond: positive,
  tf32TeraflopsPerSecond: positive,
  float32TeraflopsPerSecond: positive,
  memoryTerabytesPerSecond: positive,
  l2TerabytesPerSecond: positive,
  l2Mebibytes: positive,
  multiprocessors: positive,
  sharedKibibytesPerBlock: positive,
  launchMicroseconds: z.number().nonnegative(),
} satisfies Record<HardwareFigure, z.ZodType>;

const hardwareSchema = z.strictObject({
  name: z.string().min(1),
  ...figures,
  sources: z.record(z.string(), z.string()).default({}),
});

/**
 * A processor by its name, or from a JSON file (a name that ends in `.json`) with the fields of `Hardware`; `sources` may be left out.
 * Throws ERR_KW_INVALID_ARGUMENT, and ERR_KW_DATA for a file that cannot be read or says something else.
 */
export function findHardware(nameOrFile: string): Hardware {
  const hardware = known.get(nameOrFile);
  if (hardware) return hardware;
  if (nameOrFile.endsWith('.json')) return readHardware(nameOrFile);
  throw new KernelWarehouseError(
    'ERR_KW_INVALID_ARGUMENT',
    `no processor is called '${nameOrFile}': expected ${hardwareNames.join(', ')}, or a JSON file with a processor's figures (docs/benchmarks.md)`,
  );
}

function readHardware(path: string): Hardware {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new KernelWarehouseError('ERR_KW_DATA', `${path}: expected a JSON file with a processor's figures: ${(error as Error).message}`);
  }
  const parsed = hardwareSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const field = issue?.path.join('.') ?? '';
  throw new KernelWarehouseError('ERR_KW_DATA', `${path}: ${field ? `${field}: ` : ''}${issue ? expectation(issue, value) : 'no figures'}`);
}
