/** Reverse-mode differentiation: gradients are appended to the graph as nodes. */
import { KernelWarehouseError } from '../errors.js';
import type { Node, Value } from './graph.js';
import { add } from './ops/add.js';
import { fill } from './ops/fill.js';

export interface Seed {
  readonly value: Value;
  /** The gradient of the quantity to differentiate with respect to `value`; 1 for a scalar when absent. */
  readonly gradient?: Value;
}

function keyOf(value: Value): string {
  return `${value.node.id}:${value.index}`;
}

/** The nodes that depend on any of `values`. */
function dependents(nodes: readonly Node[], values: readonly Value[]): Set<Node> {
  const found = new Set<Node>(values.map((value) => value.node));
  for (const node of nodes) {
    if (node.inputs.some((input) => input && found.has(input.node))) found.add(node);
  }
  return found;
}

/**
 * Gradients of Σ over seeds of (value · gradient) with respect to each of `wrt`; undefined where nothing depends on it.
 * Contributions are summed in reverse order of the graph.
 */
export function gradients(seeds: readonly Seed[], wrt: readonly Value[]): (Value | undefined)[] {
  const graph = seeds[0]?.value.graph;
  if (!graph) throw new KernelWarehouseError('ERR_KW_INVALID_ARGUMENT', 'gradients: expected at least one seed');
  const forward = [...graph.nodes];
  const relevant = dependents(forward, wrt);
  const collected = new Map<string, Value>();
  const contribute = (value: Value, gradient: Value) => {
    const known = collected.get(keyOf(value));
    collected.set(keyOf(value), known ? graph.labelled(value.node.label, () => add(known, gradient)) : gradient);
  };
  for (const { value, gradient } of seeds) contribute(value, gradient ?? fill(graph, value.shape, 1));

  for (const node of forward.reverse()) {
    if (!relevant.has(node) || node.inputs.length === 0) continue;
    const outputGradients = node.outputs.map((value) => collected.get(keyOf(value)));
    if (outputGradients.every((value) => value === undefined)) continue;
    if (!node.op.gradient) {
      throw new KernelWarehouseError('ERR_KW_UNSUPPORTED', `[${node.op.name}] ${node.label}: the op has no gradient`);
    }
    const rule = node.op.gradient;
    const wanted = node.inputs.map((input) => input !== undefined && relevant.has(input.node));
    const inputGradients = graph.labelled(node.label, () => {
      return rule({ inputs: node.inputs, outputs: node.outputs, attributes: node.attributes, outputGradients, wanted });
    });
    inputGradients.forEach((gradient, position) => {
      const input = node.inputs[position];
      if (input && gradient && wanted[position]) contribute(input, gradient);
    });
  }
  return wrt.map((value) => collected.get(keyOf(value)));
}
