/** Matrix product, with optional transposes; the linear layer is one. */
import type { Value } from '../graph.js';
import { channels, defineOperation, elements, expectRank, expectShape, float32, required, shapeError, shapeOf } from '../operation.js';
import { sumRows } from './add_bias.js';
import { reshape } from './reshape.js';

export interface MatmulAttributes {
  readonly transposeA: boolean;
  readonly transposeB: boolean;
}

const matmulOperation = defineOperation<MatmulAttributes>({
  name: 'matmul',
  infer(inputs, { transposeA, transposeB }) {
    const a = expectRank('matmul', 'a', required('matmul', inputs, 0, 'a'), 2, '[rows, inner]') as [number, number];
    const b = expectRank('matmul', 'b', required('matmul', inputs, 1, 'b'), 2, '[inner, columns]') as [number, number];
    const [rows, inner] = transposeA ? [a[1], a[0]] : a;
    const [innerB, columns] = transposeB ? [b[1], b[0]] : b;
    if (inner !== innerB) throw shapeError('matmul', `inner sizes differ: ${rows}x${inner} times ${innerB}x${columns}`);
    if (inputs[2]) expectShape('matmul', 'bias', inputs[2], [columns]);
    return [float32([rows, columns])];
  },
  gradient({ inputs, attributes: { transposeA, transposeB }, outputGradients, wanted }) {
    const [a, b] = inputs as [Value, Value];
    const dc = outputGradients[0];
    if (!dc) return [];
    const da = () =>
      transposeA ? matmul(b, dc, { transposeA: transposeB, transposeB: true }) : matmul(dc, b, { transposeB: !transposeB });
    const db = () =>
      transposeB ? matmul(dc, a, { transposeA: true, transposeB: transposeA }) : matmul(a, dc, { transposeA: !transposeA });
    return [wanted[0] ? da() : undefined, wanted[1] ? db() : undefined, wanted[2] ? sumRows(dc) : undefined];
  },
  flops: ({ inputs, outputs, attributes: { transposeA } }) =>
    2 * elements(shapeOf(outputs, 0)) * (shapeOf(inputs, 0)[transposeA ? 0 : 1] as number),
});

/** The product of a [rows, inner] and b [inner, columns], each transposed first if so stated. */
export function matmul(a: Value, b: Value, options: Partial<MatmulAttributes> = {}, bias?: Value): Value {
  const attributes = { transposeA: options.transposeA ?? false, transposeB: options.transposeB ?? false };
  return a.graph.append(matmulOperation, [a, b, bias], attributes)[0] as Value;
}

/** x [..., I] times weight [O, I] transposed, plus bias [O]: [..., O]. */
export function linear(x: Value, weight: Value, bias?: Value): Value {
  const rows = elements(x.shape) / channels(x);
  const y = matmul(reshape(x, [rows, channels(x)]), weight, { transposeB: true }, bias);
  return reshape(y, [...x.shape.slice(0, -1), weight.shape[0] as number]);
}

export const matmulOperations = [matmulOperation];
