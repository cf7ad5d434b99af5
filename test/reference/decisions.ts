/**
 * ReLUs and max poolings that decide as another machine did. A value that is zero but for rounding may fall on either side of zero, and
 * then all gradients behind it move; following the other machine's decisions takes that out of a comparison and leaves only its arithmetic.
 */
import type { Node } from '../../lib/graph/graph.js';
import { evaluate } from './operations.js';
import { size, type Tensor, tensorOf, zeros } from './tensor.js';

/** For a relu: its output elsewhere. For a max_pool2d: its indices elsewhere. */
export type Decisions = ReadonlyMap<Node, Float64Array>;

/** How often a decision differed from this machine's own, and by how much at most, relative to the root mean square of the input. */
export interface Differences {
  count: number;
  largest: number;
}

function rootMeanSquare(x: Float64Array): number {
  return Math.sqrt(x.reduce((sum, value) => sum + value * value, 0) / x.length);
}

/** Runs `node` on x with what was decided elsewhere; counts in `differences` where x alone would have decided otherwise. */
export function followDecision(node: Node, x: Tensor, decision: Float64Array, differences: Differences): Tensor[] {
  const scale = rootMeanSquare(x.data);
  const differ = (distance: number): void => {
    differences.count++;
    differences.largest = Math.max(differences.largest, distance / scale);
  };
  if (node.op.name === 'relu') {
    const y = zeros(x.shape);
    for (let i = 0; i < y.data.length; i++) {
      const active = decision[i]! > 0;
      if (active !== x.data[i]! > 0) differ(Math.abs(x.data[i]!));
      // The smallest positive number: relu_backward asks whether y is above zero.
      if (active) y.data[i] = Math.max(x.data[i]!, Number.MIN_VALUE);
    }
    return [y];
  }
  const shape = node.outputs[0]!.shape;
  const own = evaluate(node.op.name, [x], node.attributes, [shape, shape])[0]!;
  const [batch, channels, perSample] = [size(x, 0), size(x, -1), x.data.length / size(x, 0)];
  const y = zeros(shape);
  const outPerSample = y.data.length / batch;
  for (let i = 0; i < y.data.length; i++) {
    y.data[i] = x.data[Math.floor(i / outPerSample) * perSample + decision[i]! * channels + (i % channels)]!;
    if (y.data[i]! < own.data[i]!) differ(own.data[i]! - y.data[i]!);
  }
  return [y, tensorOf(shape, decision)];
}
