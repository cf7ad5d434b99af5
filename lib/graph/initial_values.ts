/** Initial values of stored tensors, from their declarations. */
import { KernelWarehouseError } from '../errors.js';
import { fillNormal, RandomStream } from '../random.js';
import type { TensorDeclaration } from './declaration.js';

/** Standard deviation of Kaiming's normal initialization for a ReLU. */
export function kaimingDeviation(fanOut: number): number {
  return Math.sqrt(2 / fanOut);
}

/**
 * Fills `values` (PyTorch's order) with the initial values of a tensor. They depend only on seed, name and declaration, never on the order
 * in which tensors are filled.
 * @param seed integer from 0 to 2^32 - 1
 * @throws ERR_KW_INVALID_ARGUMENT if the number of values is not that of the tensor's elements, or the seed is out of range.
 */
export function fillInitialValues(values: Float32Array, declaration: TensorDeclaration, seed: number): void {
  const { name, shape, initialization } = declaration;
  const size = shape.reduce((product, length) => product * length, 1);
  if (values.length !== size) {
    throw new KernelWarehouseError(
      'ERR_KW_INVALID_ARGUMENT',
      `${name}: expected room for ${size} values of [${shape.join(', ')}], got ${values.length}`,
    );
  }
  switch (initialization.kind) {
    case 'zeros':
      values.fill(0);
      break;
    case 'ones':
      values.fill(1);
      break;
    case 'constant':
      values.fill(initialization.value);
      break;
    case 'normal':
      fillNormal(values, initialization.deviation, seed, name);
      break;
    case 'uniform': {
      const stream = new RandomStream(seed, name);
      for (let index = 0; index < size; index++) values[index] = stream.uniform(-initialization.bound, initialization.bound);
      break;
    }
    case 'cells': {
      const cell = size / (shape[0] as number);
      for (const { start, end, deviation } of initialization.ranges) {
        fillNormal(values.subarray(start * cell, end * cell), deviation, seed, `${name}[${start}]`);
      }
      break;
    }
  }
}
