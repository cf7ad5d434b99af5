/** The form of options as data, for checking those that come from a file. */
import { z } from 'zod';
import type { AllocationOptions } from '../warehouse/index.js';

/** One field for each option, so that the compiler misses none that is added. */
type Fields<Options> = { readonly [Option in keyof Required<Options>]: z.ZodType };

const perWarehouse = <Type extends z.ZodType>(type: Type) => z.union([type, z.array(type)]).optional();

/** Form only; `allocate` knows which values make warehouses. */
export const warehouseFields = {
  budget: perWarehouse(z.number()),
  reduction: perWarehouse(z.number()),
  cellInRatio: perWarehouse(z.number()),
  cellOutRatio: perWarehouse(z.number()),
  sharingRange: z.union([z.string(), z.array(z.string())]).optional(),
  nonlocalBasisRatio: perWarehouse(z.number()),
  spatialPartition: perWarehouse(z.boolean()),
  attentionNorm: z.enum(['batch', 'layer']).optional(),
} satisfies Fields<AllocationOptions>;
