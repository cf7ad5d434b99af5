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

export interface CostContext<A> {
  readonly inputs: Inputs;
  readonly outputs: readonly Value[];
  readonly attributes: A;
}

export interface Sharing {
  readonly output: number;
  readonly input: number;
  /** `alias`: a view of the input. `may`: computed in place when the input is not needed later. `must`: always the input's memory. */
  readonly kind: 'alias' | 'may' | 'must';
}

/**
 * The activations among a node's inputs and outputs: all of a node's are float32, or all bfloat16. What is not among them keeps its type in
 * every precision: parameters, their gradients, statistics and attention are float32.
 */
export interface Activations {
  readonly inputs: readonly number[] | 'all';
  readonly outputs: readonly number[];
  /** In a bfloat16 graph the op gives bfloat16 even where its inputs are float32, if its first output has more than one position. */
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
  /** Absent: the op knows no bfloat16, and the pass `precision` gives it float32. */
  readonly activations?: Activations;
  /** Positions of the inputs whose memory the op writes. */
  readonly mutates?: readonly number[];
  readonly sharing?: readonly Sharing[];
}

export type Operation = OperationDefinition<Attributes>;

/** Fixes the attributes' type inside the definition and forgets it outside, so that all ops fit one registry. */
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

/** Throws unless `value` has the shape and the type of another activation of the op, or its type and the given shape. */
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
export function shapeOf(values: Inputs, position: number): readonly number[] {
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

/** A tensor of an activation's type, by default of its shape too. */
export function like({ type, shape }: TensorType, otherShape = shape): TensorType {
  return { type, shape: otherShape };
}

export function nodeCost(node: Node): { flops: number; bytes: number } {
  const present = node.inputs.filter((value) => value !== undefined);
  return {
    flops: node.op.flops(node),
    bytes: [...present, ...node.outputs].reduce((sum, value) => sum + bytesOf(value), 0),
  };
}
