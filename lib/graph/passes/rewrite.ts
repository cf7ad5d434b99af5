/** Copies a graph node by node and lets a pass replace nodes; nodes that nothing needs are left out. */
import { Graph, type Node, type Value } from '../graph.js';
import type { Inputs } from '../operation.js';
import type { LeafAttributes } from '../ops/leaf.js';

/** Nodes whose work is needed: those that write memory, and what they depend on. */
export function liveNodes(graph: Graph): Set<Node> {
  const live = new Set<Node>();
  for (const node of [...graph.nodes].reverse()) {
    if (!node.op.mutates && !live.has(node)) continue;
    live.add(node);
    for (const input of node.inputs) if (input) live.add(input.node);
  }
  return live;
}

export interface Rewriter {
  /** The new graph, to append to. */
  readonly graph: Graph;
  /** The new value that replaces an old one. */
  readonly mapped: (value: Value) => Value;
}

/** Returns the new outputs of `node`, or undefined to copy it as it is. */
export type Replace = (node: Node, rewriter: Rewriter) => readonly Value[] | undefined;

export function rewrite(graph: Graph, replace: Replace): Graph {
  const result = new Graph();
  for (const [name, declaration] of graph.parameters) result.parameters.set(name, declaration);
  for (const [name, declaration] of graph.states) result.states.set(name, declaration);
  const values = new Map<Value, Value>();
  const mapped = (value: Value): Value => {
    const found = values.get(value);
    if (!found) throw new Error(`rewrite: the value of '${value.node.op.name}' is used before it is made`);
    return found;
  };
  const live = liveNodes(graph);
  for (const node of graph.nodes) {
    if (!live.has(node)) continue;
    const copied = () => {
      const inputs: Inputs = node.inputs.map((value) => value && mapped(value));
      return result.append(node.op, inputs, node.attributes, node.label);
    };
    const outputs = replace(node, { graph: result, mapped }) ?? copied();
    node.outputs.forEach((value, index) => {
      const output = outputs[index];
      if (output) values.set(value, output);
    });
  }
  return result;
}

/** The nodes that use each value, among the live ones. */
export function usesOf(graph: Graph): Map<Value, Node[]> {
  const live = liveNodes(graph);
  const uses = new Map<Value, Node[]>();
  for (const node of graph.nodes) {
    if (!live.has(node)) continue;
    for (const input of node.inputs) {
      if (!input) continue;
      const users = uses.get(input);
      if (users) users.push(node);
      else uses.set(input, [node]);
    }
  }
  return uses;
}

export function leafOf(value: Value): LeafAttributes | undefined {
  return value.node.op.name === 'leaf' ? (value.node.attributes as unknown as LeafAttributes) : undefined;
}
