/**
 * For inference, turns a convolution, the BatchNorm with fixed statistics after it, and the residual, activation and global average pooling
 * that follow into one step. A convolution or normalization that has other readers stays as it is.
 */
import type { Graph, Node, Value } from '../graph.js';
import { type BatchNormActivation, batchNormActivations } from '../ops/batch_norm.js';
import { normalizableConvolutions } from '../ops/normalized_convolution.js';
import { type Rewriter, rewrite, usesOf } from './rewrite.js';

interface Folding {
  readonly convolution: Node;
  readonly normalization: Node;
  readonly residual: Value | undefined;
  readonly activation: BatchNormActivation;
  readonly result: Value;
}

/** By the node whose result the folded step has, with all nodes that become unnecessary. */
function findFoldings(graph: Graph, uses: ReadonlyMap<Value, readonly Node[]>): { foldings: Map<Node, Folding>; folded: Set<Node> } {
  const foldings = new Map<Node, Folding>();
  const folded = new Set<Node>();
  const onlyUser = (value: Value): Node | undefined => {
    const users = uses.get(value);
    return users?.length === 1 ? users[0] : undefined;
  };
  // In reverse order: if both sides of an addition could take it in, the later one does, because the other side is there by then.
  for (const normalization of [...graph.nodes].reverse()) {
    const convolution = normalization.inputs[0]?.node;
    if (normalization.op.name !== 'batch_norm_inference' || !convolution || !normalizableConvolutions.has(convolution.op.name)) continue;
    if (onlyUser(normalization.inputs[0] as Value) !== normalization) continue;
    const nodes = [convolution, normalization];
    let result = normalization.outputs[0] as Value;
    if (!uses.has(result)) continue;
    let residual: Value | undefined;
    const addition = onlyUser(result);
    if (addition?.op.name === 'add' && !folded.has(addition)) {
      residual = addition.inputs.find((value) => value !== result);
      nodes.push(addition);
      result = addition.outputs[0] as Value;
    }
    let activation: BatchNormActivation = 'none';
    const next = onlyUser(result);
    const name = batchNormActivations.find((each) => each === next?.op.name);
    if (next && name) {
      activation = name;
      nodes.push(next);
      result = next.outputs[0] as Value;
    }
    for (const node of nodes) folded.add(node);
    foldings.set(result.node, { convolution, normalization, residual, activation, result });
  }
  return { foldings, folded };
}

export function foldBatchNorm(graph: Graph): Graph {
  const uses = usesOf(graph);
  const { foldings, folded } = findFoldings(graph, uses);
  const means = new Map<Value, Value>();
  const isPool = (node: Node) => node.op.name === 'global_avg_pool';

  const fold = ({ convolution, normalization, residual, activation, result }: Folding, { graph: made, mapped }: Rewriter) => {
    const { normalized, bias } = normalizableConvolutions.get(convolution.op.name) as NonNullable<
      ReturnType<typeof normalizableConvolutions.get>
    >;
    const own = Array.from({ length: bias + 1 }, (_, position) => convolution.inputs[position]);
    const inputs = [...own, ...normalization.inputs.slice(1), residual].map((value) => value && mapped(value));
    const pooled = (uses.get(result) ?? []).some(isPool);
    const attributes = { ...convolution.attributes, ...normalization.attributes, activation, means: pooled };
    const [y, pooledY] = made.append(normalized, inputs, attributes, convolution.label) as [Value, Value | undefined];
    if (pooledY) means.set(result, pooledY);
    return [y];
  };

  return rewrite(graph, (node, rewriter) => {
    const folding = foldings.get(node);
    if (folding) return fold(folding, rewriter);
    if (folded.has(node)) return [];
    const pooled = isPool(node) ? means.get(node.inputs[0] as Value) : undefined;
    return pooled && [pooled];
  });
}
