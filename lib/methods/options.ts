/** Options of the methods beside KernelWarehouse, whose own are those of `allocate`. Each method takes the ones that it has defaults for. */
import { z } from 'zod';
import { KernelWarehouseError } from '../errors.js';
import { checkNames } from '../validation/known_names.js';
import { expectation } from '../validation/schema_problem.js';

export interface MethodOptions {
  /** Kernels that a layer mixes, as many times as large as the static one. */
  readonly kernels?: number;
  /** What makes the attentions of the kernels; `contrasting` is KernelWarehouse's function (paper, Table 10). */
  readonly attention?: 'softmax' | 'contrasting';
  /** Hidden width of the attention over input channels. */
  readonly reduction?: number;
  /** Whether the stem is dynamic too. */
  readonly stem?: boolean;
  /** The least hidden width of the attention. */
  readonly floor?: number;
  /** Whether the linear layers of the attention have biases. */
  readonly bias?: boolean;
  /** Widths of ECA's convolutions, one for each number of channels that blocks give, the fewest first; none for ECA's own rule. */
  readonly kernelSizes?: readonly number[];
}

const kernelsField = z.int().min(1);

/** One entry for each option, so that the compiler misses none that is added. */
export const methodOptionFields = {
  kernels: kernelsField.exactOptional(),
  attention: z.enum(['softmax', 'contrasting']).exactOptional(),
  reduction: z.number().gt(0).max(1).exactOptional(),
  stem: z.boolean().exactOptional(),
  floor: z.int().min(1).exactOptional(),
  bias: z.boolean().exactOptional(),
  kernelSizes: z
    .array(
      z
        .int()
        .positive()
        .refine((size) => size % 2 === 1, 'expected an odd number'),
    )
    .exactOptional(),
} satisfies { readonly [Option in keyof Required<MethodOptions>]: z.ZodType };

/** The option that each field of a configuration gives; KernelWarehouse reads some of the fields in its own way. */
export const methodOptionOfField = {
  kernel_num: 'kernels',
  attention_function: 'attention',
  reduction: 'reduction',
  dynamic_stem: 'stem',
  attention_floor: 'floor',
  attention_bias: 'bias',
  eca_kernel_sizes: 'kernelSizes',
} as const satisfies Readonly<Record<string, keyof MethodOptions>>;

/**
 * Throws ERR_KW_CONFIG for an option that is not among `known`, with the nearest name, and for a value that no method takes.
 * @param place names the options in messages
 */
export function checkMethodOptions(options: MethodOptions, known: readonly string[], place: string): void {
  checkNames(options, known, place, 'ERR_KW_CONFIG');
  const { error } = z.strictObject(methodOptionFields).safeParse(options);
  if (!error) return;
  const problems = error.issues.map((issue) => `${issue.path.join('.')}: ${expectation(issue, options)}`);
  throw new KernelWarehouseError('ERR_KW_CONFIG', `${place}: ${problems.join('; ')}`);
}
