/** Product with a factor that is broadcast along its axes of size 1. */
import type { Arguments } from './operation.js';
import { type Tensor, tensorOf, zeros } from './tensor.js';

/** The element of a factor of shape `factor` that meets element `position` of a tensor of shape `shape`. */
function factorPosition(position: number, shape: readonly number[], factor: readonly number[]): number {
  let [rest, result, stride] = [position, 0, 1];
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    const index = rest % shape[axis]!;
    rest = Math.floor(rest / shape[axis]!);
    if (factor[axis] !== 1) result += index * stride;
    stride *= factor[axis]!;
  }
  return result;
}

export function multiply(args: Arguments): Tensor[] {
  const [x, factor] = [args.input(0), args.input(1)];
  const y = x.data.map((value, i) => value * factor.data[factorPosition(i, x.shape, factor.shape)]!);
  return [tensorOf(x.shape, y)];
}

export function multiplyBackwardFactor(args: Arguments): Tensor[] {
  const [dy, x] = [args.input(0), args.input(1)];
  const dfactor = zeros(args.numbers('factorShape'));
  for (let i = 0; i < x.data.length; i++) dfactor.data[factorPosition(i, x.shape, dfactor.shape)]! += dy.data[i]! * x.data[i]!;
  return [dfactor];
}
