/** The control block: scalars that change between steps. They are in device memory, so that a prepared step can be replayed. */
import type { DataType } from './plan.js';

interface ControlSlot {
  readonly type: DataType;
  /** Bytes from the start of the block. */
  readonly offset: number;
  /** The default value. */
  readonly otherwise: number;
}

export const controlSlots = {
  /** τ, the weight of the initial assignment (paper, equation 4). */
  temperature: { type: 'float32', offset: 0, otherwise: 0 },
  learningRate: { type: 'float32', offset: 4, otherwise: 0 },
  weightDecay: { type: 'float32', offset: 8, otherwise: 0 },
  /** T, by which DY-Conv and ODConv divide the logits of their softmax and sigmoids; above 0. */
  softmaxTemperature: { type: 'float32', offset: 12, otherwise: 1 },
  /** Optimizer steps, counted from 1. */
  step: { type: 'int32', offset: 16, otherwise: 0 },
  /** Key of the random numbers for dropout. */
  seed: { type: 'int32', offset: 20, otherwise: 0 },
} as const satisfies Record<string, ControlSlot>;

export type ControlName = keyof typeof controlSlots;

export const controlBytes = 64;

/** The block as bytes. Scalars that are not given have the defaults in `controlSlots`: zero, except 1 for the softmax temperature. */
export function controlBlock(values: Readonly<Partial<Record<ControlName, number>>>): Uint8Array {
  const view = new DataView(new ArrayBuffer(controlBytes));
  for (const [name, { type, offset, otherwise }] of Object.entries(controlSlots)) {
    const value = values[name as ControlName] ?? otherwise;
    if (type === 'float32') view.setFloat32(offset, value, true);
    else view.setInt32(offset, value, true);
  }
  return new Uint8Array(view.buffer);
}
