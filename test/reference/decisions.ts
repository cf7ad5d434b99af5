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

/** The limit of a node's activation; undefined where it has none. */
function limitOf({ op, attributes }: Node): number | undefined {
  const limits: Readonly<Record<string, number>> = { relu: Number.POSITIVE_INFINITY, relu6: 6 };
  return limits[op.name === 'batch_norm' ? (attributes.activation as string) : op.name];
}

/** The position of the output that shows what a node decided; undefined for a node that decides nothing. */
export function decidingOutput(node: Node): number | undefined {
  if (node.op.name === 'max_pool2d') return 1;
  return limitOf(node) === undefined ? undefined : 0;
}

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
  const shapes = node.outputs.map(({ shape }) => shape);
  const scaled = (x: Tensor) => {
    const scale = rootMeanSquare(x.data);
    return (distance: number): void => {
      differences.count++;
      differences.largest = Math.max(differences.largest, distance / scale);
    };
  };
  const limit = limitOf(node);
  if (limit !== undefined) {
    const attributes = { ...node.attributes, activation: 'none' };
    const [x, ...others] = node.op.name === 'batch_norm' ? evaluate('batch_norm', inputs, attributes, shapes) : [inputs[0]!];
    return [followLimits(x!, decision, limit, scaled(x!)), ...others];
  }
  if (node.op.name !== 'max_pool2d') {
    const [z, ...others] = evaluate(node.op.name, inputs, node.attributes, shapes);
    return [followSigns(z!, decision, scaled(z!)), ...others];
  }
  const x = inputs[0]!;
  const differ = scaled(x);
  const shape = shapes[0]!;
  const own = evaluate(node.op.name, [x], node.attributes, shapes)[0]!;
  const [batch, channels, perSample] = [size(x, 0), size(x, -1), x.data.length / size(x, 0)];
  const y = zeros(shape);
  const outPerSample = y.data.length / batch;
  for (let i = 0; i < y.data.length; i++) {
    y.data[i] = x.data[Math.floor(i / outPerSample) * perSample + decision[i]! * channels + (i % channels)]!;
    if (y.data[i]! < own.data[i]!) differ(own.data[i]! - y.data[i]!);
  }
  return [y, tensorOf(shape, decision)];
}

/** A batch_norm_backward that would compute its activation's input again, by what the forward node decided; undefined for other nodes. */
export function followMask(node: Node, inputs: readonly (Tensor | undefined)[], decisions: Decisions): Tensor[] | undefined {
  const decision = node.op.name === 'batch_norm_backward' && !node.inputs[6] ? decisions.get(node.inputs[3]!.node) : undefined;
  if (!decision) return undefined;
  const x = inputs[1]!;
  const shapes = [...node.outputs.map(({ shape }) => shape), x.shape];
  return evaluate(node.op.name, [...inputs.slice(0, 6), tensorOf(x.shape, decision)], node.attributes, shapes).slice(0, -1);
}
