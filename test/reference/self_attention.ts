/** Multi-head self-attention by its definition. */
import type { Arguments } from './operation.js';
import { type Tensor, zeros } from './tensor.js';

/** Calls `visit` for each head of each sample with the position of token t's first channel in [N, T, D] and the head's row in [N, heads, T]. */
function eachHead(
  args: Arguments,
  shape: readonly number[],
  visit: (at: (token: number) => number, row: number, width: number) => void,
): void {
  const [samples, tokens, channels] = shape as [number, number, number];
  const heads = args.number('heads');
  const width = channels / heads;
  for (let sample = 0; sample < samples; sample++) {
    for (let head = 0; head < heads; head++) {
      visit((token) => (sample * tokens + token) * channels + head * width, (sample * heads + head) * tokens, width);
    }
  }
}

function dot(a: Float64Array, aFrom: number, b: Float64Array, bFrom: number, count: number): number {
  let sum = 0;
  for (let i = 0; i < count; i++) sum += a[aFrom + i]! * b[bFrom + i]!;
  return sum;
}

export function selfAttention(args: Arguments): Tensor[] {
  const [query, key, value] = [args.input(0), args.input(1), args.input(2)];
  const tokens = query.shape[1]!;
  const y = zeros(query.shape);
  const logSumExp = zeros([query.shape[0]!, args.number('heads'), tokens]);
  eachHead(args, query.shape, (at, row, width) => {
    for (let i = 0; i < tokens; i++) {
      const scores = Float64Array.from({ length: tokens }, (_, j) => dot(query.data, at(i), key.data, at(j), width) / Math.sqrt(width));
      const largest = scores.reduce((a, b) => Math.max(a, b));
      const sum = scores.reduce((total, score) => total + Math.exp(score - largest), 0);
      logSumExp.data[row + i] = largest + Math.log(sum);
      for (let j = 0; j < tokens; j++) {
        const probability = Math.exp(scores[j]! - largest) / sum;
        for (let c = 0; c < width; c++) y.data[at(i) + c]! += probability * value.data[at(j) + c]!;
      }
    }
  });
  return [y, logSumExp];
}

export function selfAttentionBackward(args: Arguments): Tensor[] {
  const [dy, query, key, value, y, logSumExp] = [0, 1, 2, 3, 4, 5].map((position) => args.input(position)) as [
    Tensor,
    Tensor,
    Tensor,
    Tensor,
    Tensor,
    Tensor,
  ];
  const tokens = query.shape[1]!;
  const [dquery, dkey, dvalue] = [zeros(query.shape), zeros(query.shape), zeros(query.shape)];
  eachHead(args, query.shape, (at, row, width) => {
    const scale = 1 / Math.sqrt(width);
    for (let i = 0; i < tokens; i++) {
      const mean = dot(dy.data, at(i), y.data, at(i), width);
      for (let j = 0; j < tokens; j++) {
        const probability = Math.exp(dot(query.data, at(i), key.data, at(j), width) * scale - logSumExp.data[row + i]!);
        const dscore = probability * (dot(dy.data, at(i), value.data, at(j), width) - mean) * scale;
        for (let c = 0; c < width; c++) {
          dvalue.data[at(j) + c]! += probability * dy.data[at(i) + c]!;
          dquery.data[at(i) + c]! += dscore * key.data[at(j) + c]!;
          dkey.data[at(j) + c]! += dscore * query.data[at(i) + c]!;
        }
      }
    }
  });
  return [dquery, dkey, dvalue];
}
