/**
 * How temperatures fall during training: τ, the weight of the initial assignment in the attention (paper, equation 4), and T, by which
 * DY-Conv and ODConv divide the logits of their softmax and sigmoids.
 */
import { KernelWarehouseError } from '../errors.js';

export interface TemperatureSchedule {
  /** Epochs until the temperature has fallen; 0: it is low from the start. For τ the authors use 10, 15 or 20. */
  readonly epochs: number;
  readonly iterationsPerEpoch: number;
  /** τ before the first iteration; defaults to 1. */
  readonly initial?: number;
}

function fail(name: string, expected: string, value: number): never {
  throw new KernelWarehouseError('ERR_KW_INVALID_ARGUMENT', `temperature: ${name}: expected ${expected}, got ${String(value)}`);
}

/** The share of the schedule that is left in an iteration, counted from 1 over the whole training. */
function remaining(iteration: number, { epochs, iterationsPerEpoch }: TemperatureSchedule): number {
  if (!Number.isInteger(iteration) || iteration < 1) fail('iteration', 'an integer from 1', iteration);
  if (!(Number.isFinite(epochs) && epochs >= 0)) fail('epochs', 'a number from 0', epochs);
  if (!Number.isInteger(iterationsPerEpoch) || iterationsPerEpoch < 1) fail('iterationsPerEpoch', 'an integer from 1', iterationsPerEpoch);
  const iterations = epochs * iterationsPerEpoch;
  return iteration >= iterations ? 0 : (iterations - iteration) / iterations;
}

/**
 * τ in an iteration, counted from 1 over the whole training: it falls linearly from `initial` to 0 at the end of `epochs` epochs, then
 * stays 0. The very first iteration therefore already runs slightly below `initial`, as in the authors' training loop.
 * @throws ERR_KW_INVALID_ARGUMENT for an iteration below 1 or a schedule of negative length.
 */
export function temperatureAt(iteration: number, schedule: TemperatureSchedule): number {
  const { initial = 1 } = schedule;
  if (!(Number.isFinite(initial) && initial >= 0 && initial <= 1)) fail('initial', 'a number from 0 to 1', initial);
  return initial * remaining(iteration, schedule);
}

/** T at the start, as in DY-Conv (Chen et al., 2020) and ODConv's code. */
const initialSoftmaxTemperature = 30;

/**
 * T in an iteration, counted from 1 over the whole training: it falls linearly from 30 to 1 at the end of `epochs` epochs, then stays 1, as
 * in ODConv's training loop.
 * @throws ERR_KW_INVALID_ARGUMENT like `temperatureAt`.
 */
export function softmaxTemperatureAt(iteration: number, schedule: Omit<TemperatureSchedule, 'initial'>): number {
  return 1 + (initialSoftmaxTemperature - 1) * remaining(iteration, schedule);
}
