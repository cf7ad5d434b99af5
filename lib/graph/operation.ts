/** What a primitive op is: its shape rule, gradient, cost and memory behaviour, side by side. One file of `ops/` defines each. */
import { KernelWarehouseError } from '../errors.js';
import { type DataType, elementBytes } from '../plan/plan.js';
import type { Node, Value } from './graph.js';

export type Attributes = Readonly<Record<string, unknown>>;

export interface TensorType {
  readonly type: DataType;
  /** Physical, row-major. */
  readonly shape: readonly number[];
}

export type Inputs = readonly (Value | undefined)[];

export interface GradientContext<A> {
  readonly inputs: Inputs;
  readonly outputs: readonly Value[];
  readonly attributes: A;
  /** The gradient of each output; undefined where nothing depends on it. */
  readonly outputGradients: readonly (Value | undefined)[];
  /** Which inputs need a gradient. */
  readonly wanted: readonly boolean[];
}

/** Costs depend on types alone, so the steps of a plan have them too. */
export interface CostContext<A> {
  readonly inputs: readonly (TensorType | undefined)[];
  readonly outputs: readonly TensorType[];
  readonly attributes: A;
}

export interface Sharing {
  readonly output: number;
  readonly input: number;
  /** `alias`: a view of the input. `may`: computed in place if the input is not needed later. `must`: always in the memory of the input. */
  readonly kind: 'alias' | 'may' | 'must';
}

/**
 * Which inputs and outputs are activations. Those of one node are all float32 or all bfloat16. Everything else keeps its type in every
 * precision: parameters, their gradients, statistics and attention are float32.
 */
export interface Activations {
  readonly inputs: readonly number[] | 'all';
  readonly outputs: readonly number[];
  /**
   * In a bfloat16 graph, the op's result is bfloat16 even if its inputs are float32, provided that its first output has more than one
   * position.
   */
  readonly begins?: true;
}

export interface OperationDefinition<A> {
  readonly name: string;
  /** Output types; throws ERR_KW_SHAPE when the inputs do not fit. */
  readonly infer: (inputs: Inputs, attributes: A) => TensorType[];
  /** Appends nodes that compute the inputs' gradients; undefined for an input that has none. Absent: the op is not differentiable. */
  readonly gradient?: (context: GradientContext<A>) => (Value | undefined)[];
  /** Floating-point operations of one run; a multiply-add counts as two. */
  readonly flops: (context: CostContext<A>) => number;
  /** Absent: the op does not take bfloat16, and the pass `precision` gives it float32. */
  readonly activations?: Activations;
  /** Positions of the inputs whose memory the op writes. */
  readonly mutates?: readonly number[];
  readonly sharing?: readonly Sharing[];
}

export type Operation = OperationDefinition<Attributes>;

/** Fixes the type of the attributes inside the definition and forgets it outside, so that all ops fit one registry. */
export function defineOperation<A extends object>(definition: OperationDefinition<A>): Operation {
  return definition as unknown as Operation;
}

export function shapeError(op: string, message: string): KernelWarehouseError {
  return new KernelWarehouseError('ERR_KW_SHAPE', `[${op}] ${message}`);
}

/** The input at `position`; throws when it is absent. */
export function required(op: string, inputs: Inputs, position: number, name: string): Value {
  const value = inputs[position];
  if (!value) throw shapeError(op, `input '${name}' is missing`);
  return value;
}

/** Throws unless `value` has exactly this shape. */
export function expectShape(op: string, name: string, value: Value, shape: readonly number[]): void {
  if (value.shape.length !== shape.length || value.shape.some((size, axis) => size !== shape[axis])) {
    throw shapeError(op, `expected ${name} of shape [${shape.join(', ')}] but received [${value.shape.join(', ')}]`);
  }
}

/** Throws unless `value` has the shape and type of another activation of the op, or its type and the given shape. */
export function expectLike(op: string, name: string, value: Value, other: TensorType, shape = other.shape): void {
  expectShape(op, name, value, shape);
  if (value.type !== other.type) throw shapeError(op, `expected ${name} to be ${other.type} but received ${value.type}`);
}

/** Throws unless `value` has this number of dimensions; returns its shape. */
export function expectRank(op: string, name: string, value: Value, rank: number, meaning: string): readonly number[] {
  if (value.shape.length !== rank) throw shapeError(op, `expected ${name} of shape ${meaning} but received [${value.shape.join(', ')}]`);
  return value.shape;
}

/** The shape of the value at `position`; empty when it is absent. */
export function shapeOf(values: readonly (TensorType | undefined)[], position: number): readonly number[] {
  return values[position]?.shape ?? [];
}

export function elements(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

export function bytesOf(value: TensorType): number {
  return elementBytes[value.type] * elements(value.shape);
}

/** The last axis: channels. */
export function channels(value: TensorType): number {
  return value.shape[value.shape.length - 1] ?? 1;
}

export function float32(shape: readonly number[]): TensorType {
  return { type: 'float32', shape };
}

/** A tensor with the type of an activation and, by default, its shape. */
export function like({ type, shape }: TensorType, otherShape = shape): TensorType {
  return { type, shape: otherShape };
}

export interface Cost {
  /** Floating-point operations; a multiply-add counts as two. */
  readonly flops: number;
  /** Bytes of all inputs and outputs, each counted once: the least that has to be moved. */
  readonly bytes: number;
}

export function nodeCost({ op, inputs, outputs, attributes }: Node): Cost {
  return operationCost(op, { inputs, outputs, attributes });
}

export function operationCost(op: Operation, context: CostContext<Attributes>): Cost {
  const present = context.inputs.filter((value) => value !== undefined);
  return { flops: op.flops(context), bytes: [...present, ...context.outputs].reduce((sum, value) => sum + bytesOf(value), 0) };
}
