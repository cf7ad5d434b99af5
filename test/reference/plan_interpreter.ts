/**
 * Runs a Plan in float64 the way the native executor does: over shared buffers, in place, with nothing but tensors' offsets to tell
 * values apart. Each 4-byte element of a buffer is one float64 here, so overlaps and reuse are exactly the plan's.
 */
import type { Plan } from '../../lib/plan/plan.js';
import { evaluate } from './operations.js';
import { elementCount, type Tensor } from './tensor.js';

export class PlanMemory {
  readonly buffers: readonly Float64Array[];

  /** The workspace starts as NaN: a step that reads what no step wrote shows in the results. */
  constructor(private readonly plan: Plan) {
    this.buffers = plan.buffers.map(({ bytes }, index) => new Float64Array(bytes / 4).fill(index === 0 ? Number.NaN : 0));
  }

  /** The buffer called `name`, one number for each 4 bytes. */
  buffer(name: string): Float64Array {
    const buffer = this.buffers[this.plan.buffers.findIndex((spec) => spec.name === name)];
    if (!buffer) throw new Error(`the plan has no buffer '${name}'`);
    return buffer;
  }

  tensor(index: number): Tensor {
    const tensor = this.plan.tensors[index];
    const buffer = tensor && this.buffers[tensor.buffer];
    if (!tensor || !buffer) throw new Error(`the plan has no tensor ${index}`);
    const start = tensor.offset / 4;
    const end = start + elementCount(tensor.shape);
    if (!Number.isInteger(start) || start < 0 || end > buffer.length) throw new Error(`tensor ${index} lies outside its buffer`);
    return { shape: tensor.shape, data: buffer.subarray(start, end) };
  }
}

/** Runs every step in order. */
export function interpretPlan(plan: Plan, memory: PlanMemory): void {
  for (const step of plan.steps) {
    const inputs = step.inputs.map((index) => (index < 0 ? undefined : memory.tensor(index)));
    const places = step.outputs.map((index) => memory.tensor(index));
    const outputs = evaluate(
      step.op,
      inputs,
      step.attributes,
      places.map((place) => place.shape),
    );
    outputs.forEach((output, index) => places[index]!.data.set(output.data));
  }
}
