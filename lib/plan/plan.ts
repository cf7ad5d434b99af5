/** The plan: a flat list of steps over a few buffers, plain JSON. docs/plan.md describes it; native/runtime/plan.h reads it. */
export type DataType = 'float32' | 'int32' | 'bfloat16';

/** Bytes of one element. */
export const elementBytes: Readonly<Record<DataType, number>> = { float32: 4, int32: 4, bfloat16: 2 };

export interface PlanTensor {
  readonly type: DataType;
  /** Physical, row-major. */
  readonly shape: readonly number[];
  /** Index into `Plan.buffers`. */
  readonly buffer: number;
  /** Bytes from the start of the buffer. */
  readonly offset: number;
}

export interface PlanStep {
  readonly op: string;
  /** The layer that the step belongs to, for messages and profiles. */
  readonly label: string;
  /** Tensor indices; -1 is an absent optional input. */
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
  readonly attributes: Readonly<Record<string, unknown>>;
  /** Positions in `inputs` that the step writes. */
  readonly mutates: readonly number[];
}

export interface PlanBuffer {
  readonly name: string;
  readonly bytes: number;
}

export interface Plan {
  readonly version: 1;
  readonly name: string;
  /** Buffer 0 is the workspace, owned by the program; the others are bound by name. */
  readonly buffers: readonly PlanBuffer[];
  readonly tensors: readonly PlanTensor[];
  readonly steps: readonly PlanStep[];
}
