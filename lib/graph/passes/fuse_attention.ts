/**
 * Fuses the attention module of each layer in an inference graph into one step: linear, normalization, ReLU, linear, attention function.
 */
import type { Graph, Node, Value } from '../graph.js';
import type { Inputs } from '../operation.js';
import type { AttentionFunctionAttributes } from '../ops/attention_function.js';
import { attentionModuleOperation } from '../ops/attention_module.js';
import { rewrite, usesOf } from './rewrite.js';

interface Module {
  readonly inputs: Inputs;
  readonly normEpsilon: number;
}

/** The attention module that ends in this attention function, if nothing else reads its intermediate results. */
function moduleOf(node: Node, usedOnce: (value: Value) => boolean): Module | undefined {
  /** The node that made input `position` of `from`, if it is one of these ops and only `from` reads it. */
  const before = (from: Node | undefined, position: number, ...ops: readonly string[]): Node | undefined => {
    const value = from?.inputs[position];
    return value && ops.includes(value.node.op.name) && usedOnce(value) ? value.node : undefined;
  };
  const second = before(before(node, 0, 'reshape'), 0, 'matmul');
  const active = before(second, 0, 'relu');
  const norm = before(active, 0, 'batch_norm_inference', 'layer_norm');
  const first = before(norm ?? active, 0, 'matmul');
  if (!second || !first) return undefined;
  const product = ({ inputs, attributes: { transposeA, transposeB } }: Node) => (transposeB && !transposeA ? inputs : undefined);
  const [a, b] = [product(first), product(second)];
  if (!a || !b || b[2] === undefined) return undefined;
  const [, scale, shift, mean, variance] = norm?.inputs ?? [];
  return {
    inputs: [a[0], a[1], a[2], scale, shift, mean, variance, b[1], b[2], node.inputs[1], node.inputs[2]],
    normEpsilon: (norm?.attributes.epsilon as number | undefined) ?? 0,
  };
}

export function fuseAttention(graph: Graph): Graph {
  const uses = usesOf(graph);
  const usedOnce = (value: Value) => uses.get(value)?.length === 1;
  return rewrite(graph, (node, { graph: result, mapped }) => {
    const module = node.op.name === 'attention_function' ? moduleOf(node, usedOnce) : undefined;
    if (!module) return undefined;
    const attributes = node.attributes as unknown as AttentionFunctionAttributes;
    return result.append(
      attentionModuleOperation,
      module.inputs.map((value) => value && mapped(value)),
      { ...attributes, normEpsilon: module.normEpsilon, mixtures: node.outputs[0]?.shape[1] },
      node.label,
    );
  });
}
