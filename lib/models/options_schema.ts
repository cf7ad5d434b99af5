/** The form of a model's options as data, for checking those that come from a file. */
import { z } from 'zod';
import { implementations } from '../layers/layer.js';
import { methodOptionFields } from '../methods/options.js';
import { type AllocationOptions, attentionFunctions, attentionInitializations } from '../warehouse/index.js';
import type { ModelOptions } from './model.js';

/** One field for each option, so that the compiler misses none that is added. */
type Fields<Options> = { readonly [Option in keyof Required<Options>]: z.ZodType };

const perWarehouse = <Type extends z.ZodType>(type: Type, expected: string) =>
  z.union([type, z.array(type)], { error: `expected ${expected}, or a list of them` }).exactOptional();
const ratio = perWarehouse(z.number(), 'a number');

/** Form only: `allocate` knows which values make warehouses. */
export const warehouseFields = {
  budget: ratio,
  reduction: ratio,
  cellInRatio: ratio,
  cellOutRatio: ratio,
  sharingRange: z.union([z.string(), z.array(z.string())], { error: 'expected prefixes, as a string or a list' }).exactOptional(),
  nonlocalBasisRatio: ratio,
  spatialPartition: perWarehouse(z.boolean(), 'true or false'),
  attentionNorm: z.enum(['batch', 'layer']).exactOptional(),
  sameDimensions: z.boolean().exactOptional(),
  cellSharing: z.boolean().exactOptional(),
  attentionFunction: z.enum(attentionFunctions).exactOptional(),
  attentionInitialization: perWarehouse(z.enum(attentionInitializations), attentionInitializations.join(', ')),
  odconvAttentions: z.boolean().exactOptional(),
  odconvTemperature: z.number().exactOptional(),
} satisfies Fields<AllocationOptions>;

export const modelOptionFields = {
  network: z.string(),
  classes: z.int().positive().optional(),
  stem: z.enum(['large', 'small']).optional(),
  dropout: z.number().optional(),
  dropPath: z.number().optional(),
  imageSize: z.int().positive().optional(),
  layerScale: z.number().optional(),
  headScale: z.number().optional(),
  warehouse: z.strictObject(warehouseFields).optional(),
  method: z.strictObject(methodOptionFields).optional(),
  implementation: z.enum(implementations).optional(),
} satisfies Fields<ModelOptions>;

/** Form only; `Model` checks ranges and what goes together. */
export const modelOptionsSchema = z.strictObject(modelOptionFields);
