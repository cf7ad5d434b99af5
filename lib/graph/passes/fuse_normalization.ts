/**
 * Fuses a training batch_norm with the residual sum and the activation that follow it, forward and backward: the input of the activation is
 * never stored, and the backward pass masks the gradient where it reads it. Then lets a pooling's gradient add to an existing sum.
 */
import type { Graph, Node, Value } from '../graph.js';
import { type BatchNormActivation, type BatchNormAttributes, batchNormBackwardOperation, batchNormOperation } from '../ops/batch_norm.js';
import { globalAvgPoolBackwardOperation } from '../ops/global_avg_pool.js';
import { rewrite, usesOf } from './rewrite.js';

/** A batch_norm with what follows it. */
interface Chain {
  readonly norm: Node;
  /** Made before the norm. */
  readonly residual: Value | undefined;
  readonly activation: BatchNormActivation;
  /** The result of the whole. */
  readonly y: Value;
}

type Uses = ReadonlyMap<Value, readonly Node[]>;

function usedOnce(uses: Uses, value: Value): boolean {
  return uses.get(value)?.length === 1;
}

/** The norm that made this y, if nothing else reads y and the norm has no residual or activation yet. */
function plainNorm(uses: Uses, value: Value | undefined): Node | undefined {
  const { node, index } = value ?? {};
  const plain = node?.op.name === 'batch_norm' && index === 0 && !node.inputs[3] && node.attributes.activation === 'none';
  return plain && usedOnce(uses, value as Value) ? node : undefined;
}

/** The chain that adds to a norm's result a value that exists before the norm runs. */
function sumChain(uses: Uses, sum: Node, activation: BatchNormActivation, y: Value): Chain | undefined {
  const [a, b] = sum.inputs as [Value, Value];
  for (const [value, residual] of [
    [b, a],
    [a, b],
  ] as const) {
    const norm = plainNorm(uses, value);
    if (norm && residual.node.id < norm.id) return { norm, residual, activation, y };
  }
  return undefined;
}

function chainOf(uses: Uses, node: Node): Chain | undefined {
  const [y] = node.outputs as [Value];
  const [x] = node.inputs;
  switch (node.op.name) {
    case 'relu':
    case 'relu6': {
      const activation = node.op.name;
      const norm = plainNorm(uses, x);
      if (norm) return { norm, residual: undefined, activation, y };
      return x?.node.op.name === 'add' && usedOnce(uses, x) ? sumChain(uses, x.node, activation, y) : undefined;
    }
    case 'add': {
      const [user, ...others] = uses.get(y) ?? [];
      const activated = others.length === 0 && (user?.op.name === 'relu' || user?.op.name === 'relu6');
      return activated ? undefined : sumChain(uses, node, 'none', y);
    }
    default:
      return undefined;
  }
}

/** The nodes after the norm: the sum, if there is one, and the activation, if there is one. */
function followers({ residual, activation, y }: Chain): Node[] {
  const [x] = y.node.inputs as [Value];
  return residual && activation !== 'none' ? [x.node, y.node] : [y.node];
}

interface Chains {
  readonly byNorm: ReadonlyMap<Node, Chain>;
  readonly byResult: ReadonlyMap<Value, Chain>;
  /** The nodes that become part of a norm, with that norm. */
  readonly vanishing: ReadonlyMap<Node, Node>;
}

function findChains(graph: Graph, uses: Uses): Chains {
  const byNorm = new Map<Node, Chain>();
  const byResult = new Map<Value, Chain>();
  const vanishing = new Map<Node, Node>();
  for (const node of graph.nodes) {
    const chain = uses.has(node.outputs[0] as Value) ? chainOf(uses, node) : undefined;
    if (!chain || byNorm.has(chain.norm)) continue;
    byNorm.set(chain.norm, chain);
    byResult.set(chain.y, chain);
    for (const follower of followers(chain)) vanishing.set(follower, chain.norm);
  }
  return { byNorm, byResult, vanishing };
}

interface Mask {
  readonly chain: Chain;
  /** The norm's own backward node. */
  readonly backward: Node;
}

/** For each norm, the activation's backward node and the norm's own, if the second reads the first. */
function findMasks(graph: Graph, uses: Uses, { byResult }: Chains): ReadonlyMap<Node, Mask> {
  const masks = new Map<Node, Mask>();
  for (const node of graph.nodes) {
    const chain = node.inputs[1] && byResult.get(node.inputs[1]);
    if (!chain || node.op.name !== `${chain.activation}_backward`) continue;
    const users = uses.get(node.outputs[0] as Value) ?? [];
    const backward = users.find((user) => user.op.name === 'batch_norm_backward' && user.inputs[3] === chain.norm.outputs[1]);
    if (backward && (chain.residual || users.length === 1)) masks.set(node, { chain, backward });
  }
  return masks;
}

function fuse(graph: Graph): Graph {
  const uses = usesOf(graph);
  const chains = findChains(graph, uses);
  const masks = findMasks(graph, uses, chains);
  const joined = new Map<Node, readonly Value[]>();

  return rewrite(graph, (node, { graph: result, mapped }) => {
    const chain = chains.byNorm.get(node);
    if (chain) {
      const inputs = [...node.inputs.slice(0, 3), chain.residual].map((value) => value && mapped(value));
      const attributes: BatchNormAttributes = { epsilon: node.attributes.epsilon as number, activation: chain.activation };
      return result.append(batchNormOperation, inputs, { ...attributes }, node.label);
    }
    const norm = chains.vanishing.get(node);
    if (norm) return [mapped(norm.outputs[0] as Value)];
    const mask = masks.get(node);
    if (mask) {
      const { residual, y, activation } = mask.chain;
      const [dy] = node.inputs;
      const bias = mask.chain.norm.inputs[2];
      const inputs = [dy, ...mask.backward.inputs.slice(1, 5), bias, residual && y].map((value) => value && mapped(value));
      const outputs = result.append(batchNormBackwardOperation, inputs, { ...mask.backward.attributes, activation }, mask.backward.label);
      joined.set(mask.backward, outputs.slice(0, 3));
      return outputs.slice(3);
    }
    return joined.get(node);
  });
}

/** Turns add(sum, pooling's gradient) into a pooling's gradient that adds to `sum`, in place if nothing else reads it. */
function accumulate(graph: Graph): Graph {
  const uses = usesOf(graph);
  const pooled = new Map<Node, { readonly gradient: Node; readonly sum: Value }>();
  const vanishing = new Set<Node>();
  for (const node of graph.nodes) {
    if (node.op.name !== 'add' || !uses.has(node.outputs[0] as Value)) continue;
    const [a, b] = node.inputs as [Value, Value];
    for (const [value, sum] of [
      [b, a],
      [a, b],
    ] as const) {
      const gradient = value.node;
      if (gradient.op.name !== 'global_avg_pool_backward' || gradient.inputs[1] || !usedOnce(uses, value)) continue;
      pooled.set(node, { gradient, sum });
      vanishing.add(gradient);
      break;
    }
  }
  return rewrite(graph, (node, { graph: result, mapped }) => {
    if (vanishing.has(node)) return [];
    const found = pooled.get(node);
    if (!found) return undefined;
    const { gradient, sum } = found;
    const inputs = [mapped(gradient.inputs[0] as Value), mapped(sum)];
    return result.append(globalAvgPoolBackwardOperation, inputs, gradient.attributes, gradient.label);
  });
}

export function fuseNormalization(graph: Graph): Graph {
  return accumulate(fuse(graph));
}
