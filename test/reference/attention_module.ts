/** A layer's attention in one op: its two products and its normalization written out, its last step as in attention_function.ts. */
import { blended } from './attention_function.js';
import type { Arguments } from './operation.js';
import { size, type Tensor, zeros } from './tensor.js';

function fullyConnected(rows: Tensor, weight: Tensor, bias: Tensor | undefined): Tensor {
  const [samples, inner, outer] = [size(rows, 0), size(rows, 1), size(weight, 0)];
  const result = zeros([samples, outer]);
  for (let s = 0; s < samples; s++) {
    for (let o = 0; o < outer; o++) {
      let sum = bias?.data[o] ?? 0;
      for (let i = 0; i < inner; i++) sum += rows.data[s * inner + i]! * weight.data[o * inner + i]!;
      result.data[s * outer + o] = sum;
    }
  }
  return result;
}

export function attentionModule(args: Arguments): Tensor[] {
  const [scale, shift, mean, variance] = [args.optional(3), args.optional(4), args.optional(5), args.optional(6)];
  const hidden = fullyConnected(args.input(0), args.input(1), args.optional(2));
  const width = size(hidden, 1);
  for (let row = 0; row < hidden.data.length; row += width) {
    const values = hidden.data.subarray(row, row + width);
    const rowMean = values.reduce((a, b) => a + b) / width;
    const rowVariance = values.reduce((total, value) => total + (value - rowMean) ** 2, 0) / width;
    values.forEach((value, k) => {
      const centred = value - (mean?.data[k] ?? rowMean);
      const normalized = centred / Math.sqrt((variance?.data[k] ?? rowVariance) + args.number('normEpsilon'));
      values[k] = Math.max(0, scale && shift ? normalized * scale.data[k]! + shift.data[k]! : value);
    });
  }
  const [samples, mixtures, cells] = args.outputShape(0) as [number, number, number];
  const logits = fullyConnected(hidden, args.input(7), args.input(8));
  const columns = args.boolean('zeroCell') ? cells + 1 : cells;
  return [blended(args, { shape: [samples, mixtures, columns], data: logits.data }, args.scalar(9), args.optional(10))];
}
