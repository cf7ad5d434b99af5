import { gemm, type Matrix } from './gemm.js';
import type { Arguments } from './operation.js';
import { size, type Tensor, zeros } from './tensor.js';

function view(x: Tensor, transpose: boolean): Matrix {
  const width = size(x, 1);
  return { data: x.data, offset: 0, row: transpose ? 1 : width, column: transpose ? width : 1 };
}

export function matmul(args: Arguments): Tensor[] {
  const [a, b, bias] = [args.input(0), args.input(1), args.optional(2)];
  const [transposeA, transposeB] = [args.boolean('transposeA'), args.boolean('transposeB')];
  const [m, k] = [size(a, transposeA ? 1 : 0), size(a, transposeA ? 0 : 1)];
  const n = size(b, transposeB ? 0 : 1);
  const c = zeros([m, n]);
  gemm(m, n, k, view(a, transposeA), view(b, transposeB), { data: c.data, offset: 0, row: n, column: 1 });
  if (bias) for (let i = 0; i < c.data.length; i++) c.data[i]! += bias.data[i % n]!;
  return [c];
}
