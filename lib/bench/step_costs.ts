/** What each step of a plan computes and moves, from its tensors' shapes. */
import { type Cost, operationCost, type TensorType } from '../graph/operation.js';
import { operations } from '../graph/ops/index.js';
import type { Plan, PlanStep, PlanTensor } from '../plan/plan.js';

export interface StepCost extends Cost {
  readonly op: string;
  readonly label: string;
}

/** In the plan's order. `bytes` counts every input and output once, which a kernel can only exceed. */
export function stepCosts(plan: Plan): StepCost[] {
  return plan.steps.map((step) => ({ op: step.op, label: step.label, ...costOf(plan, step, inputsOf(plan, step)) }));
}

/** Which input of an op is a weight, or the cells from which it is mixed. */
const weightPositions: ReadonlyMap<string, number> = new Map([
  ['conv2d', 1],
  ['conv2d_backward_input', 1],
  ['normalized_conv2d', 1],
  ['conv3d', 1],
  ['conv3d_backward_input', 1],
  ['mixed_conv2d', 2],
  ['normalized_mixed_conv2d', 2],
  ['mixed_conv2d_backward_input', 2],
  ['mixed_conv2d_backward_mixing', 3],
]);

/** The same for one step whose kernel keeps weights and cells in the type of the activations, as bfloat16 kernels do. */
export function computedCost(plan: Plan, step: PlanStep): Cost {
  const inputs = inputsOf(plan, step);
  const position = weightPositions.get(step.op);
  const weight = position === undefined ? undefined : inputs[position];
  const activation = inputs[0];
  return costOf(plan, step, weight && activation ? inputs.with(position as number, { ...weight, type: activation.type }) : inputs);
}

function inputsOf({ tensors }: Plan, { inputs }: PlanStep): (PlanTensor | undefined)[] {
  return inputs.map((index) => tensors[index]);
}

function costOf({ tensors }: Plan, { op, outputs, attributes }: PlanStep, inputs: readonly (TensorType | undefined)[]): Cost {
  const operation = operations.get(op);
  if (!operation) throw new Error(`a plan has a step of the op '${op}', which is not in the table of ops`);
  return operationCost(operation, { inputs, outputs: outputs.map((index) => tensors[index] as PlanTensor), attributes });
}
