/** The form of a model's options as data, for checking those that come from a file. */
import { z } from 'zod';
import { type AllocationOptions, attentionFunctions, attentionInitializations } from '../warehouse/index.js';
import type { ModelOptions } from './model.js';

/** One field for each option, so that the compiler misses none that is added. */
type Fields<Options> = { readonly [Option in keyof Required<Options>]: z.ZodType };

const perWarehouse = <Type extends z.ZodType>(type: Type) => z.union([type, z.array(type)]).optional();

const warehouseFields = {
  budget: perWarehouse(z.number()),
  reduction: perWarehouse(z.number()),
  cellInRatio: perWarehouse(z.number()),
  cellOutRatio: perWarehouse(z.number()),
  sharingRange: z.union([z.string(), z.array(z.string())]).optional(),
  nonlocalBasisRatio: perWarehouse(z.number()),
  spatialPartition: perWarehouse(z.boolean()),
  attentionNorm: z.enum(['batch', 'layer']).optional(),
  sameDimensions: z.boolean().optional(),
  cellSharing: z.boolean().optional(),
  attentionFunction: z.enum(attentionFunctions).optional(),
  attentionInitialization: perWarehouse(z.enum(attentionInitializations)),
  odconvAttentions: z.boolean().optional(),
  odconvTemperature: z.number().optional(),
} satisfies Fields<AllocationOptions>;

const modelFields = {
  network: z.string(),
  classes: z.int().positive().optional(),
  stem: z.enum(['large', 'small']).optional(),
  dropout: z.number().optional(),
  dropPath: z.number().optional(),
  imageSize: z.int().positive().optional(),
  layerScale: z.number().optional(),
  headScale: z.number().optional(),
  warehouse: z.strictObject(warehouseFields).optional(),
} satisfies Fields<ModelOptions>;

/** Form only; `Model` checks ranges and what goes together. */
export const modelOptionsSchema = z.strictObject(modelFields);
