/** What each step of a plan computes and moves, from its tensors' shapes. */
import { type Cost, operationCost } from '../graph/operation.js';
import { operations } from '../graph/ops/index.js';
import type { Plan, PlanTensor } from '../plan/plan.js';

export interface StepCost extends Cost {
  readonly op: string;
  readonly label: string;
}

/** In the plan's order. `bytes` counts every input and output once, which a kernel can only exceed. */
export function stepCosts({ steps, tensors }: Plan): StepCost[] {
  const tensorsAt = (indices: readonly number[]): (PlanTensor | undefined)[] => indices.map((index) => tensors[index]);
  return steps.map(({ op, label, inputs, outputs, attributes }) => {
    const operation = operations.get(op);
    if (!operation) throw new Error(`a plan has a step of the op '${op}', which is not in the table of ops`);
    const written = tensorsAt(outputs) as PlanTensor[];
    return { op, label, ...operationCost(operation, { inputs: tensorsAt(inputs), outputs: written, attributes }) };
  });
}
