/** The contrasting attention (paper section 3.3, equation 5) as the authors' code has it: with a zero cell, and epsilon beside the sum. */
import type { Arguments } from './operation.js';
import { size, type Tensor, zeros } from './tensor.js';

/** beta `[m, n+1]`: row i is 1 at the cells (or the zero cell n) that `assignment[i]` lists. */
function assignmentMatrix(args: Arguments, m: number, width: number): Float64Array {
  const beta = new Float64Array(m * width);
  args.lists('assignment').forEach((cells, mixture) => {
    for (const cell of cells) beta[mixture * width + cell] = 1;
  });
  return beta;
}

/** attention = (1 - t) z / (sum|z| + epsilon) + t beta, without the zero cell's column. */
export function contrastingAttention(args: Arguments): Tensor[] {
  const logits = args.input(0);
  const t = args.scalar(1);
  const [batch, m, width] = logits.shape as [number, number, number];
  const beta = assignmentMatrix(args, m, width);
  const attention = zeros([batch, m, width - 1]);
  for (let row = 0; row < batch * m; row++) {
    const z = logits.data.subarray(row * width, (row + 1) * width);
    const sum = z.reduce((total, value) => total + Math.abs(value), 0) + args.number('epsilon');
    for (let j = 0; j < width - 1; j++) {
      attention.data[row * (width - 1) + j] = ((1 - t) * z[j]!) / sum + t * beta[(row % m) * width + j]!;
    }
  }
  return [attention];
}

export function contrastingAttentionBackward(args: Arguments): Tensor[] {
  const [dattention, logits] = [args.input(0), args.input(1)];
  const t = args.scalar(2);
  const width = size(logits, -1);
  const dlogits = zeros(logits.shape);
  for (let row = 0; row < logits.data.length / width; row++) {
    const z = logits.data.subarray(row * width, (row + 1) * width);
    const gradient = dattention.data.subarray(row * (width - 1), (row + 1) * (width - 1));
    const sum = z.reduce((total, value) => total + Math.abs(value), 0) + args.number('epsilon');
    const along = gradient.reduce((total, value, j) => total + value * z[j]!, 0) / sum;
    for (let j = 0; j < width; j++) {
      dlogits.data[row * width + j] = ((1 - t) * ((gradient[j] ?? 0) - Math.sign(z[j]!) * along)) / sum;
    }
  }
  return [dlogits];
}
