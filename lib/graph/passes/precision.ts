/**
 * Makes the activations between layers bfloat16, and their gradients. They take half the memory, and fast matrix units read them directly.
 * Parameters, their gradients, statistics, attention, logits and the loss stay float32. Ops that do not take bfloat16 get casts.
 */
import type { Graph, Node, Value } from '../graph.js';
import { elements, type Inputs } from '../operation.js';
import { type ActivationType, castOperation } from '../ops/cast.js';
import { rewrite } from './rewrite.js';

/** The type of a program's activations. */
export type Precision = ActivationType;

export const precisions: readonly Precision[] = ['float32', 'bfloat16'];

/** How many positions each sample of [N, ..., C] has. */
function positions({ shape }: Value): number {
  return elements(shape.slice(1, -1));
}

function activationInputs({ op, inputs }: Node): readonly number[] {
  const listed = op.activations?.inputs ?? [];
  return listed === 'all' ? inputs.map((_, position) => position) : listed;
}

/** Whether `node`, whose inputs became `inputs`, computes in bfloat16. */
function isBfloat16(node: Node, inputs: Inputs): boolean {
  if (activationInputs(node).some((position) => inputs[position]?.type === 'bfloat16')) return true;
  const { activations } = node.op;
  return activations?.begins === true && positions(node.outputs[0] as Value) > 1;
}

/** The graph with activations of type `precision`; the graph itself for float32. Runs after all fusions. */
export function inPrecision(graph: Graph, precision: Precision): Graph {
  if (precision === 'float32') return graph;
  const casts = new Map<Value, Value>();
  return rewrite(graph, (node, { graph: result, mapped }) => {
    const inputs = node.inputs.map((value) => value && mapped(value));
    const wanted = isBfloat16(node, inputs);
    const activations = new Set(wanted ? activationInputs(node) : []);
    const converted = inputs.map((value, position) => {
      const type: ActivationType = activations.has(position) ? 'bfloat16' : 'float32';
      if (!value || value.type === type || value.type === 'int32') return value;
      const known = casts.get(value) ?? (result.append(castOperation, [value], { type }, value.node.label)[0] as Value);
      casts.set(value, known);
      return known;
    });
    // An op that names the type of its result has no activation from which to take it.
    const typed = wanted && 'type' in node.attributes ? { ...node.attributes, type: 'bfloat16' } : node.attributes;
    return result.append(node.op, converted, typed, node.label);
  });
}
