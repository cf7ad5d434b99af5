/** Runs a Graph in float64, node by node, with what is bfloat16 rounded to it. Leaves live in a `LeafMemory`; ops that mutate write into it. */
import type { Graph, Node, Value } from '../../lib/graph/graph.js';
import type { LeafAttributes } from '../../lib/graph/ops/leaf.js';
import { keep } from './bfloat16.js';
import { type Decisions, type Differences, followDecision, followMask } from './decisions.js';
import type { Disturb } from './disturbance.js';
import { evaluate } from './operations.js';
import { elementCount, type Tensor } from './tensor.js';

/** Where the flat arenas hold the tensors that belong to parameters: element offsets by name. */
export interface ArenaLayout {
  readonly size: number;
  readonly offsets: ReadonlyMap<string, number>;
}

/** The leaves' float64 storage, zero until written. With a layout, parameters and gradients are views into their arenas. */
export class LeafMemory {
  private readonly buffers = new Map<string, Float64Array>();

  constructor(private readonly layout?: ArenaLayout) {}

  /** The storage of one leaf, in physical order. */
  at({ kind, name, shape }: Pick<LeafAttributes, 'kind' | 'name' | 'shape'>): Float64Array {
    const count = elementCount(shape);
    if (this.layout && (kind === 'parameter' || kind === 'gradient')) {
      const offset = this.layout.offsets.get(name);
      if (offset === undefined) throw new Error(`the arena layout has no place for '${name}'`);
      return this.buffer(`arena ${kind}s`, this.layout.size).subarray(offset, offset + count);
    }
    return this.buffer(`${kind} ${name}`, count);
  }

  private buffer(key: string, count: number): Float64Array {
    let buffer = this.buffers.get(key);
    if (!buffer) {
      buffer = new Float64Array(count);
      this.buffers.set(key, buffer);
    }
    if (buffer.length !== count) throw new Error(`leaf '${key}' has ${buffer.length} elements, not ${count}`);
    return buffer;
  }
}

function keyOf({ node, index }: Value): string {
  return `${node.id}:${index}`;
}

/** The nodes that write memory or lead to a wanted value, in the graph's order; gradients leave others behind that nothing needs. */
function neededNodes(graph: Graph, wanted: readonly Value[]): Node[] {
  const needed = new Set<Node>(wanted.map(({ node }) => node));
  for (const node of graph.nodes.toReversed()) {
    if (!node.op.mutates && !needed.has(node)) continue;
    needed.add(node);
    for (const input of node.inputs) if (input) needed.add(input.node);
  }
  return graph.nodes.filter((node) => needed.has(node));
}

/** For each value the position of the last node that reads it. */
function lastReaders(nodes: readonly Node[]): Map<string, number> {
  const last = new Map<string, number>();
  nodes.forEach((node, position) => {
    for (const input of node.inputs) if (input) last.set(keyOf(input), position);
  });
  return last;
}

export interface InterpretOptions {
  /** Values to return; others are dropped after their last reader. */
  readonly wanted?: readonly Value[];
  /** Decisions to follow instead of taking them, and where to count those that differ. */
  readonly follow?: { readonly decisions: Decisions; readonly differences: Differences };
  /** Applied to every float result before it is rounded to the type that it is stored in. */
  readonly disturb?: Disturb;
}

/** Runs the graph and returns the tensors of `wanted`. */
export function interpret(graph: Graph, memory: LeafMemory, { wanted = [], follow, disturb }: InterpretOptions = {}): Tensor[] {
  const nodes = neededNodes(graph, wanted);
  const values = new Map<string, Tensor>();
  const kept = new Set(wanted.map(keyOf));
  const last = lastReaders(nodes);
  nodes.forEach((node, position) => {
    const inputs = node.inputs.map((input) => input && (values.get(keyOf(input)) ?? missing(node)));
    const shapes = node.outputs.map((output) => output.shape);
    const decision = follow?.decisions.get(node);
    const compute = (): Tensor[] => {
      if (node.op.name === 'leaf') return [leafTensor(node, memory)];
      if (follow && decision) return followDecision(node, inputs, decision, follow.differences);
      const masked = follow && followMask(node, inputs, follow.decisions);
      return masked ?? evaluate(node.op.name, inputs, node.attributes, shapes);
    };
    const outputs = labelled(node, compute);
    node.outputs.forEach((output, index) => {
      const { shape, data } = outputs[index]!;
      const isBfloat16 = output.type === 'bfloat16';
      if (disturb && node.op.name !== 'leaf' && output.type !== 'int32') disturb(data);
      values.set(keyOf(output), { shape, data: isBfloat16 ? keep('bfloat16', data) : data, isBfloat16 });
    });
    for (const value of [...node.inputs, ...node.outputs]) {
      if (value && (last.get(keyOf(value)) ?? -1) <= position && !kept.has(keyOf(value))) values.delete(keyOf(value));
    }
  });
  return wanted.map((value) => values.get(keyOf(value))!);
}

function missing(node: Node): never {
  throw new Error(`[${node.op.name}] ${node.label}: an input is read before it is computed`);
}

function leafTensor(node: Node, memory: LeafMemory): Tensor {
  const attributes = node.attributes as unknown as LeafAttributes;
  return { shape: attributes.shape, data: memory.at(attributes) };
}

function labelled<T>(node: Node, run: () => T): T {
  try {
    return run();
  } catch (error) {
    throw new Error(`node ${node.id}, ${node.label}: ${(error as Error).message}`, { cause: error });
  }
}
