/** The options that decide how warehouses are made: KernelWarehouse's own. */
import { z } from 'zod';
import { type OptionDeclarations, type OptionsOf, oneOrList } from '../validation/option.js';
import { attentionInitializations } from './assignment.js';
import { attentionFunctions } from './attention.js';

/** One value for all warehouses, or a list with one for each (or a single one), in the order in which they are numbered. */
export type PerWarehouse<T> = T | readonly T[];

const ratio = oneOrList(z.number().positive(), 'a positive number');

/** An option that takes a list has one value for all warehouses, or one for each, in the order in which they are numbered. */
export const warehouseOptions = {
  budget: {
    type: ratio,
    field: 'cell_num_ratio',
    default: 1,
    help: 'b = n/m, the cells of a warehouse per mixture: a whole number, or 1/Q',
  },
  reduction: {
    type: ratio,
    field: 'reduction',
    default: 1 / 16,
    help: "the attention's hidden width, divided by the input channels; the width is at least 16",
  },
  cellInRatio: {
    type: ratio,
    field: 'cell_inplane_ratio',
    default: 1,
    help: "a cell's input channels, divided by the greatest common divisor of the layers'",
  },
  cellOutRatio: { type: ratio, field: 'cell_outplane_ratio', default: 1, help: 'the same for output channels' },
  sharingRange: {
    type: z.union([z.string(), z.array(z.string().min(1))], { error: 'expected prefixes, as a string or a list' }),
    field: 'sharing_range',
    default: [],
    help: 'prefixes of sharing names: layers whose names differ only in the numbers after them share a warehouse',
  },
  nonlocalBasisRatio: {
    type: ratio,
    field: 'nonlocal_basis_ratio',
    default: 1,
    help: 'below 1: logits for the cells of other layers come from fewer values, which is cheaper',
  },
  spatialPartition: {
    type: oneOrList(z.boolean(), 'true or false'),
    field: 'spatial_partition',
    default: true,
    help: 'whether kernels are also cut into their positions; if not, a cell is as high and wide as the kernel',
  },
  sameDimensions: {
    type: z.boolean(),
    field: 'same_dimensions',
    default: false,
    help: 'whether only kernels of equal shape share a warehouse (paper, Table 7)',
  },
  cellSharing: {
    type: z.boolean(),
    field: 'cell_sharing',
    default: true,
    help: 'whether a mixture sees all cells of its warehouse, or only its own b (paper, Table 6)',
  },
  attentionNorm: { type: z.enum(['batch', 'layer']), default: 'batch', help: "the attention's normalization" },
  attentionFunction: {
    type: z.enum(attentionFunctions),
    field: 'attention_function',
    default: 'contrasting',
    help: 'the attention function (paper, Table 8)',
  },
  attentionInitialization: {
    type: oneOrList(z.enum(attentionInitializations), attentionInitializations.join(', ')),
    field: 'attention_initialization',
    default: 'oneToOne',
    help: 'which cells a mixture starts from (paper, Tables 9 and 13)',
  },
  odconvAttentions: {
    type: z.boolean(),
    field: 'odconv_attentions',
    default: false,
    help: "KW*: ODConv's channel, filter and spatial attentions in every layer (paper, Table 17)",
  },
  odconvTemperature: {
    type: z.number().positive(),
    field: 'odconv_temperature',
    default: 1,
    help: "divides the logits of KW*'s attentions",
  },
} as const satisfies OptionDeclarations;

/** How warehouses are made. docs/methods.md lists the options with their defaults. */
export type AllocationOptions = OptionsOf<typeof warehouseOptions>;

/** The options, completed by their defaults. */
export function withDefaults(options: AllocationOptions): Required<AllocationOptions> {
  const defaults = Object.fromEntries(Object.entries(warehouseOptions).map(([name, option]) => [name, option.default]));
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  return { ...defaults, ...Object.fromEntries(given) } as Required<AllocationOptions>;
}
