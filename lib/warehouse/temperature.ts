/** τ of the attention (paper, equation 4): how much of the initial assignment is still mixed in. */
import { KernelWarehouseError } from '../errors.js';

export interface TemperatureSchedule {
  /** Epochs until τ is 0; 0 means that τ is 0 from the start. The authors use 10, 15 or 20. */
  readonly epochs: number;
  readonly iterationsPerEpoch: number;
  /** τ before the first iteration; defaults to 1. */
  readonly initial?: number;
}

/**
 * τ during an iteration, counted from 1 over the whole training: falls linearly from `initial` to 0 at the end of `epochs` epochs, then
 * stays 0. So the very first iteration already runs slightly below `initial`, as in the authors' training loop.
 * @throws ERR_KW_INVALID_ARGUMENT for an iteration below 1 or a schedule of negative length.
 */
export function temperatureAt(iteration: number, schedule: TemperatureSchedule): number {
  const { epochs, iterationsPerEpoch, initial = 1 } = schedule;
  const fail = (name: string, expected: string, value: number): never => {
    throw new KernelWarehouseError('ERR_KW_INVALID_ARGUMENT', `temperature: ${name}: expected ${expected}, got ${String(value)}`);
  };
  if (!Number.isInteger(iteration) || iteration < 1) fail('iteration', 'an integer from 1', iteration);
  if (!(Number.isFinite(epochs) && epochs >= 0)) fail('epochs', 'a number from 0', epochs);
  if (!Number.isInteger(iterationsPerEpoch) || iterationsPerEpoch < 1) fail('iterationsPerEpoch', 'an integer from 1', iterationsPerEpoch);
  if (!(Number.isFinite(initial) && initial >= 0 && initial <= 1)) fail('initial', 'a number from 0 to 1', initial);
  const iterations = epochs * iterationsPerEpoch;
  return iteration >= iterations ? 0 : initial * ((iterations - iteration) / iterations);
}
