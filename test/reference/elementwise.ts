/** Ops on elements, rows and the last axis. */
import type { Arguments } from './operation.js';
import { elementCount, size, type Tensor, tensorOf, zeros } from './tensor.js';

export function add(args: Arguments): Tensor[] {
  const [a, b] = [args.input(0), args.input(1)];
  return [
    tensorOf(
      a.shape,
      a.data.map((value, i) => value + b.data[i]!),
    ),
  ];
}

export function addBias(args: Arguments): Tensor[] {
  const [x, bias] = [args.input(0), args.input(1)];
  const channels = size(x, -1);
  return [
    tensorOf(
      x.shape,
      x.data.map((value, i) => value + bias.data[i % channels]!),
    ),
  ];
}

export function sumRows(args: Arguments): Tensor[] {
  const x = args.input(0);
  const channels = size(x, -1);
  const y = zeros([channels]);
  for (let i = 0; i < x.data.length; i++) y.data[i % channels]! += x.data[i]!;
  return [y];
}

export function relu(args: Arguments): Tensor[] {
  const x = args.input(0);
  return [
    tensorOf(
      x.shape,
      x.data.map((value) => Math.max(value, 0)),
    ),
  ];
}

export function reluBackward(args: Arguments): Tensor[] {
  const [dy, y] = [args.input(0), args.input(1)];
  return [
    tensorOf(
      y.shape,
      dy.data.map((value, i) => (y.data[i]! > 0 ? value : 0)),
    ),
  ];
}

/** Another shape over the same memory. */
export function reshape(args: Arguments): Tensor[] {
  return [tensorOf(args.numbers('shape'), args.input(0).data)];
}

export function slice(args: Arguments): Tensor[] {
  const x = args.input(0);
  const [start, end] = [args.number('start'), args.number('end')];
  const y = zeros([...x.shape.slice(0, -1), end - start]);
  for (let i = 0; i < y.data.length; i++) {
    y.data[i] = x.data[Math.floor(i / (end - start)) * size(x, -1) + start + (i % (end - start))]!;
  }
  return [y];
}

export function sliceBackward(args: Arguments): Tensor[] {
  const dy = args.input(0);
  const [start, whole] = [args.number('start'), args.number('size')];
  const part = size(dy, -1);
  const dx = zeros([...dy.shape.slice(0, -1), whole]);
  for (let i = 0; i < dy.data.length; i++) dx.data[Math.floor(i / part) * whole + start + (i % part)] = dy.data[i]!;
  return [dx];
}

export function concat(args: Arguments): Tensor[] {
  const parts = args.present();
  const width = parts.reduce((total, part) => total + size(part, -1), 0);
  const y = zeros([...parts[0]!.shape.slice(0, -1), width]);
  let start = 0;
  for (const part of parts) {
    const columns = size(part, -1);
    for (let i = 0; i < part.data.length; i++) y.data[Math.floor(i / columns) * width + start + (i % columns)] = part.data[i]!;
    start += columns;
  }
  return [y];
}

export function fill(args: Arguments): Tensor[] {
  const y = zeros(args.numbers('shape'));
  y.data.fill(args.number('value'));
  return [y];
}

export function copy(args: Arguments): Tensor[] {
  args.input(0).data.set(args.input(1).data);
  return [];
}

export function sumOfSquares(args: Arguments): Tensor[] {
  return [tensorOf([], [args.input(0).data.reduce((total, value) => total + value * value, 0)])];
}

/** The values are what they were; who keeps them in bfloat16 rounds them. */
export function cast(args: Arguments): Tensor[] {
  const x = args.input(0);
  return [{ shape: x.shape, data: x.data.slice() }];
}

/** x with its axes in the order of `axes`. */
export function transpose(args: Arguments): Tensor[] {
  const [x, axes] = [args.input(0), args.numbers('axes')];
  const y = zeros(axes.map((axis) => size(x, axis)));
  const strides = x.shape.map((_, axis) => elementCount(x.shape.slice(axis + 1)));
  for (let to = 0; to < y.data.length; to++) {
    let [rest, from] = [to, 0];
    for (let axis = axes.length - 1; axis >= 0; axis--) {
      from += (rest % size(y, axis)) * strides[axes[axis]!]!;
      rest = Math.floor(rest / size(y, axis));
    }
    y.data[to] = x.data[from]!;
  }
  return [y];
}
