/**
 * ReLUs, max poolings and the magnitudes in attention functions that decide as another machine did. A value that is zero but for rounding may fall on either side of zero, and
 * then all gradients behind it move; following the other machine's decisions takes that out of a comparison and leaves only its arithmetic.
 */
import type { Node, Value } from '../../lib/graph/graph.js';
import type { AttentionFunction } from '../../lib/graph/ops/attention_function.js';
import { evaluate } from './operations.js';
import { size, type Tensor, tensorOf, zeros } from './tensor.js';

/** For each deciding node the output that shows its decisions, as it was elsewhere. */
export type Decisions = ReadonlyMap<Node, Float64Array>;

/** The ops that decide, each with the position of the output that shows what it decided. */
export const decidingOutput: ReadonlyMap<string, number> = new Map([
  ['relu', 0],
  ['relu6', 0],
  ['max_pool2d', 1],
]);

/**
 * The values whose signs decide: logits of attention functions, whose gradient has the sign of each (the derivative of its magnitude). They are
 * followed where they are computed, because the function and its gradient both read them.
 */
export function decidingLogits(node: Node): Value | undefined {
  const functions: readonly AttentionFunction[] = ['contrasting', 'rectified'];
  const decides = node.op.name === 'attention_function' && functions.includes(node.attributes.function as AttentionFunction);
  return decides ? node.inputs[0] : undefined;
}

/** How often a decision differed from this machine's own, and by how much at most, relative to the root mean square of the input. */
export interface Differences {
  count: number;
  largest: number;
}

function rootMeanSquare(x: Float64Array): number {
  return Math.sqrt(x.reduce((sum, value) => sum + value * value, 0) / x.length);
}

/** x limited to 0..limit where the limits bind as they did in `decision`. The gradient asks whether y is strictly between the limits. */
function followLimits(x: Tensor, decision: Float64Array, limit: number, differ: (distance: number) => void): Tensor {
  const y = zeros(x.shape);
  const below = limit * (1 - Number.EPSILON / 2);
  for (let i = 0; i < y.data.length; i++) {
    const [own, other] = [x.data[i]!, decision[i]!];
    if (own > 0 !== other > 0) differ(Math.abs(own));
    if (own < limit !== other < limit) differ(Math.abs(own - limit));
    if (other >= limit) y.data[i] = limit;
    else if (other > 0) y.data[i] = Math.min(Math.max(own, Number.MIN_VALUE), below);
  }
  return y;
}

/** z with the signs of `decision`. */
function followSigns(z: Tensor, decision: Float64Array, differ: (distance: number) => void): Tensor {
  const data = z.data.map((own, i) => {
    if (Math.sign(own) === Math.sign(decision[i]!)) return own;
    differ(Math.abs(own));
    return Math.sign(decision[i]!) * Number.MIN_VALUE;
  });
  return tensorOf(z.shape, data);
}

/**
 * Runs `node` with what was decided elsewhere; counts in `differences` where it alone would have decided otherwise. `decision` is the output
 * that `decidingOutput` names, or the values of `decidingLogits`.
 */
export function followDecision(
  node: Node,
  inputs: readonly (Tensor | undefined)[],
  decision: Float64Array,
  differences: Differences,
): Tensor[] {
  const decides = decidingOutput.has(node.op.name);
  const outputs = decides
    ? []
    : evaluate(
        node.op.name,
        inputs,
        node.attributes,
        node.outputs.map(({ shape }) => shape),
      );
  const x = decides ? inputs[0]! : outputs[0]!;
  const scale = rootMeanSquare(x.data);
  const differ = (distance: number): void => {
    differences.count++;
    differences.largest = Math.max(differences.largest, distance / scale);
  };
  if (!decides) return [followSigns(x, decision, differ), ...outputs.slice(1)];
  if (node.op.name !== 'max_pool2d') return [followLimits(x, decision, node.op.name === 'relu6' ? 6 : Number.POSITIVE_INFINITY, differ)];
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
