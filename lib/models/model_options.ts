/** A model's options, and the schema that checks those that come from a file. */
import { z } from 'zod';
import { type Implementation, implementations } from '../layers/layer.js';
import { type MethodOptions, methodOptionFields } from '../methods/options.js';
import type { NetworkOptions } from '../networks/network.js';
import { optionFields } from '../validation/option.js';
import { type AllocationOptions, warehouseOptions } from '../warehouse/index.js';

export interface ModelOptions extends Partial<NetworkOptions> {
  /** The name of a registered network, such as `kw_resnet18`. */
  readonly network: string;
  /** How warehouses are made; only for KernelWarehouse networks. */
  readonly warehouse?: AllocationOptions;
  /** Options of the network's method, if that is not KernelWarehouse. */
  readonly method?: MethodOptions;
  /** How weights of single samples are applied, if the network has them. Default `samplewise`. */
  readonly implementation?: Implementation;
}

/** One field for each option, so that the compiler misses none that is added. */
type Fields<Options> = { readonly [Option in keyof Required<Options>]: z.ZodType };

export const modelOptionFields = {
  network: z.string(),
  classes: z.int().positive().optional(),
  stem: z.enum(['large', 'small']).optional(),
  dropout: z.number().optional(),
  dropPath: z.number().optional(),
  imageSize: z.int().positive().optional(),
  layerScale: z.number().optional(),
  headScale: z.number().optional(),
  warehouse: z.strictObject(optionFields(warehouseOptions)).optional(),
  method: z.strictObject(methodOptionFields).optional(),
  implementation: z.enum(implementations).optional(),
} satisfies Fields<ModelOptions>;

/** Checks only the form; `Model` checks ranges and combinations. */
export const modelOptionsSchema = z.strictObject(modelOptionFields);
