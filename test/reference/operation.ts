import { keep } from './bfloat16.js';
import type { Tensor } from './tensor.js';

/** Attributes and inputs of one node as a reference operation sees them; every accessor throws when what it asks for is missing. */
export class Arguments {
  constructor(
    private readonly operation: string,
    private readonly inputs: readonly (Tensor | undefined)[],
    private readonly attributes: Readonly<Record<string, unknown>>,
    private readonly outputShapes: readonly (readonly number[])[],
  ) {}

  input(position: number): Tensor {
    return this.inputs[position] ?? this.fail(`input ${position} is missing`);
  }

  optional(position: number): Tensor | undefined {
    return this.inputs[position];
  }

  /** Every input that is present, in order. */
  present(): Tensor[] {
    return this.inputs.filter((input) => input !== undefined);
  }

  /** The only element of a `[]` input. */
  scalar(position: number): number {
    const data = this.input(position).data;
    return data.length === 1 ? data[0]! : this.fail(`input ${position} is not a scalar`);
  }

  /** Whether the op's activations are bfloat16. */
  get isBfloat16(): boolean {
    return this.inputs.some((input) => input?.isBfloat16);
  }

  /** An input that is multiplied as bfloat16 where the activations are: a weight, cells, attention. */
  operand(position: number): Tensor {
    return this.rounded(this.input(position));
  }

  /** What bfloat16 keeps of a tensor where the activations are bfloat16, else the tensor. */
  rounded({ shape, data }: Tensor): Tensor {
    return { shape, data: this.isBfloat16 ? keep('bfloat16', data.slice()) : data };
  }

  outputShape(position: number): readonly number[] {
    return this.outputShapes[position] ?? this.fail(`output ${position} is missing`);
  }

  number(name: string): number {
    const value = this.attributes[name];
    return typeof value === 'number' ? value : this.fail(`attribute ${name} is not a number`);
  }

  boolean(name: string): boolean {
    const value = this.attributes[name];
    return typeof value === 'boolean' ? value : this.fail(`attribute ${name} is not a boolean`);
  }

  text(name: string): string {
    const value = this.attributes[name];
    return typeof value === 'string' ? value : this.fail(`attribute ${name} is not a text`);
  }

  numbers(name: string): number[] {
    const value = this.attributes[name];
    return Array.isArray(value) ? (value as number[]) : this.fail(`attribute ${name} is not a list`);
  }

  pair(name: string): [number, number] {
    const value = this.numbers(name);
    return value.length === 2 ? [value[0]!, value[1]!] : this.fail(`attribute ${name} is not a pair`);
  }

  lists(name: string): number[][] {
    return this.numbers(name) as unknown as number[][];
  }

  fail(message: string): never {
    throw new Error(`[${this.operation}] ${message}`);
  }
}

/** Computes the outputs of one op; an op that mutates writes into its inputs' data and returns []. */
export type ReferenceOperation = (args: Arguments) => Tensor[];
