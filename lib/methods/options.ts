/**
 * Options of the methods other than KernelWarehouse, whose own are in `warehouse/options.ts`. A method takes those options for which it has
 * defaults.
 */
import { z } from 'zod';
import { KernelWarehouseError } from '../errors.js';
import { checkNames } from '../validation/known_names.js';
import { type OptionDeclarations, type OptionsOf, optionFields } from '../validation/option.js';
import { expectation } from '../validation/schema_problem.js';

const oddSize = z
  .int()
  .positive()
  .refine((size) => size % 2 === 1, 'expected an odd number');

export const methodOptions = {
  kernels: { type: z.int().min(1), field: 'kernel_num', help: 'kernels that a layer mixes, each as large as the static one' },
  attention: {
    type: z.enum(['softmax', 'contrasting']),
    field: 'attention_function',
    help: "the attention function; contrasting is KernelWarehouse's (paper, Table 10)",
  },
  reduction: { type: z.number().gt(0).max(1), field: 'reduction', help: "the attention's hidden width, divided by the input channels" },
  stem: { type: z.boolean(), field: 'dynamic_stem', help: 'whether the stem is dynamic too' },
  floor: { type: z.int().min(1), field: 'attention_floor', help: "the attention's least hidden width" },
  bias: { type: z.boolean(), field: 'attention_bias', help: "whether the attention's linear layers have biases" },
  kernelSizes: {
    type: z.array(oddSize),
    field: 'eca_kernel_sizes',
    help: "widths of ECA's convolutions, one for each number of channels of the blocks' outputs, the fewest first; none: ECA's own rule",
  },
} as const satisfies OptionDeclarations;

/** Options of a method other than KernelWarehouse. docs/methods.md lists which method takes which, with the defaults. */
export type MethodOptions = OptionsOf<typeof methodOptions>;

/** The fields of a schema for these options. */
export const methodOptionFields = optionFields(methodOptions);

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
