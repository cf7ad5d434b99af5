/**
 * Runs a Plan in float64 the way the native executor does: over shared buffers, in place, with nothing but tensors' offsets to tell
 * values apart. Every 2 bytes of a buffer are one float64 here: a bfloat16 element has one, a 4-byte element the first of two, and the
 * second is NaN. So overlaps and reuse are exactly the plan's.
 */
import { type DataType, elementBytes, type Plan } from '../../lib/plan/plan.js';
import { keep } from './bfloat16.js';
import { evaluate } from './operations.js';
import { elementCount, type Tensor } from './tensor.js';

/** Elements of a buffer. `offset` in bytes. */
export interface Range {
  readonly type: DataType;
  readonly offset: number;
  readonly count: number;
}

export class PlanMemory {
  readonly #buffers: readonly Float64Array[];

  /** The workspace starts as NaN: a step that reads what no step wrote shows in the results. */
  constructor(private readonly plan: Plan) {
    this.#buffers = plan.buffers.map(({ bytes }, index) => new Float64Array(bytes / 2).fill(index === 0 ? Number.NaN : 0));
  }

  read(buffer: string, range: Range): Float64Array {
    return this.#read(this.#indexOf(buffer), range);
  }

  write(buffer: string, range: Range, values: ArrayLike<number>): void {
    this.#write(this.#indexOf(buffer), range, values);
  }

  tensor(index: number): Tensor {
    const { shape, buffer, ...place } = this.#place(index);
    return { shape, data: this.#read(buffer, place), isBfloat16: place.type === 'bfloat16' };
  }

  /** Stores what the tensor's type keeps of the values. */
  store(index: number, values: Float64Array): void {
    const { type, buffer, ...place } = this.#place(index);
    this.#write(buffer, { type, ...place }, keep(type, values));
  }

  #place(index: number) {
    const tensor = this.plan.tensors[index];
    if (!tensor) throw new Error(`the plan has no tensor ${index}`);
    return { ...tensor, count: elementCount(tensor.shape) };
  }

  #indexOf(name: string): number {
    const index = this.plan.buffers.findIndex((buffer) => buffer.name === name);
    if (index < 0) throw new Error(`the plan has no buffer '${name}'`);
    return index;
  }

  /** The first slot of a range and the slots from one element to the next. */
  #slots(buffer: number, { type, offset, count }: Range): { slots: Float64Array; start: number; step: number } {
    const slots = this.#buffers[buffer]!;
    const [start, step] = [offset / 2, elementBytes[type] / 2];
    if (!Number.isInteger(start) || start < 0 || start + step * count > slots.length) throw new Error('a tensor lies outside its buffer');
    return { slots, start, step };
  }

  #read(buffer: number, range: Range): Float64Array {
    const { slots, start, step } = this.#slots(buffer, range);
    return Float64Array.from({ length: range.count }, (_, i) => slots[start + step * i]!);
  }

  #write(buffer: number, range: Range, values: ArrayLike<number>): void {
    const { slots, start, step } = this.#slots(buffer, range);
    for (let i = 0; i < range.count; i++) {
      slots[start + step * i] = values[i]!;
      if (step === 2) slots[start + step * i + 1] = Number.NaN;
    }
  }
}

/** Runs every step in order. */
export function interpretPlan(plan: Plan, memory: PlanMemory): void {
  for (const step of plan.steps) {
    const inputs = step.inputs.map((index) => (index < 0 ? undefined : memory.tensor(index)));
    const shapes = step.outputs.map((index) => memory.tensor(index).shape);
    const outputs = evaluate(step.op, inputs, step.attributes, shapes);
    outputs.forEach((output, index) => memory.store(step.outputs[index]!, output.data));
    for (const position of step.mutates) memory.store(step.inputs[position]!, inputs[position]!.data);
  }
}
