/** The control block: scalars that change between steps, in device memory, so that a prepared step can be replayed. */
import type { DataType } from './plan.js';

interface ControlSlot {
  readonly type: DataType;
  /** Bytes from the start of the block. */
  readonly offset: number;
}

export const controlSlots = {
  /** τ, the weight of the initial assignment (paper, equation 4). */
  temperature: { type: 'float32', offset: 0 },
  learningRate: { type: 'float32', offset: 4 },
  weightDecay: { type: 'float32', offset: 8 },
  /** Optimizer steps, counted from 1. */
  step: { type: 'int32', offset: 16 },
  /** Key of the random numbers that dropout draws. */
  seed: { type: 'int32', offset: 20 },
} as const satisfies Record<string, ControlSlot>;

export type ControlName = keyof typeof controlSlots;

export const controlBytes = 64;

/** The block as bytes; what is not given is zero. */
export function controlBlock(values: Readonly<Partial<Record<ControlName, number>>>): Uint8Array {
  const view = new DataView(new ArrayBuffer(controlBytes));
  for (const [name, value] of Object.entries(values)) {
    const { type, offset } = controlSlots[name as ControlName];
    if (type === 'float32') view.setFloat32(offset, value, true);
    else view.setInt32(offset, value, true);
  }
  return new Uint8Array(view.buffer);
}
