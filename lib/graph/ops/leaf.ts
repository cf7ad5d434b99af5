/** A tensor that no node computes: an input, a stored tensor, a control scalar, the place of a result. */
import type { DataType } from '../../plan/plan.js';
import { defineOperation } from '../operation.js';

export interface LeafAttributes {
  readonly kind: 'input' | 'output' | 'parameter' | 'gradient' | 'state' | 'control' | 'arena';
  readonly name: string;
  readonly type: DataType;
  readonly shape: readonly number[];
}

export const leaf = defineOperation<LeafAttributes>({
  name: 'leaf',
  infer: (_inputs, { type, shape }) => [{ type, shape }],
  flops: () => 0,
});
