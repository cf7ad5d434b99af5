/** Turns a graph into a plan: the nodes that are needed, in order, with the place of every tensor in memory. */

import { type ControlName, controlBytes, controlSlots } from '../../plan/control.js';
import { placeLifetimes } from '../../plan/memory.js';
import type { Plan, PlanBuffer, PlanStep, PlanTensor } from '../../plan/plan.js';
import { Arena } from '../arena.js';
import type { Graph, Node, Value } from '../graph.js';
import { bytesOf } from '../operation.js';
import { leafOf, liveNodes } from './rewrite.js';

interface Place {
  readonly buffer: string;
  /** Bytes. */
  readonly offset: number;
}

/** Values that share memory: views, in-place results, sums over a warehouse. */
interface Storage {
  readonly bytes: number;
  place: Place | undefined;
  first: number;
  last: number;
}

export interface LowerOptions {
  readonly name: string;
  /** The layout of the `parameters` arena and of all arenas like it; by default that of the graph's own declarations. */
  readonly parameters?: Arena;
  readonly states?: Arena;
}

/** The place of a leaf; arenas of gradients and optimizer state have the parameters' layout. */
function placeOf(value: Value, parameters: Arena, states: Arena): Place | undefined {
  const attributes = leafOf(value);
  if (!attributes) return undefined;
  const { kind, name } = attributes;
  switch (kind) {
    case 'parameter':
    case 'gradient':
      return { buffer: `${kind}s`, offset: 4 * parameters.entry(name).offset };
    case 'state':
      return { buffer: 'state', offset: 4 * states.entry(name).offset };
    case 'control':
      return { buffer: 'control', offset: controlSlots[name as ControlName].offset };
    default:
      return { buffer: name, offset: 0 };
  }
}

class Lowering {
  readonly nodes: readonly Node[];
  readonly storages = new Map<Value, Storage>();
  /** Results that are computed directly at the destination of a copy. */
  readonly #destinations = new Map<Value, Value>();
  /** The copies that this makes unnecessary. */
  readonly #dropped = new Set<Node>();
  readonly #lastUse = new Map<Value, number>();
  readonly parameters: Arena;
  readonly states: Arena;

  constructor(graph: Graph, { parameters, states }: LowerOptions) {
    const live = liveNodes(graph);
    this.nodes = graph.nodes.filter((node) => live.has(node));
    this.parameters = parameters ?? new Arena(graph.parameters.values());
    this.states = states ?? new Arena(graph.states.values());
    this.#chooseDestinations();
    this.#findLastUses();
    this.nodes.forEach((node, step) => this.#assignStorage(node, step));
  }

  get steps(): Node[] {
    return this.nodes.filter((node) => node.op.name !== 'leaf' && node.op.name !== 'reshape' && !this.#dropped.has(node));
  }

  /** A copy is removed if a node computes its source, the source is copied nowhere else, and nothing else reads the destination. */
  #chooseDestinations(): void {
    const readers = new Map<Value, number>();
    for (const node of this.nodes) for (const input of node.inputs) if (input) readers.set(input, (readers.get(input) ?? 0) + 1);
    for (const node of this.nodes) {
      if (node.op.name !== 'copy') continue;
      const [destination, source] = node.inputs as [Value, Value];
      const origin = source.node.op.name;
      if (origin === 'leaf' || origin === 'reshape' || this.#destinations.has(source) || readers.get(destination) !== 1) continue;
      this.#destinations.set(source, destination);
      this.#dropped.add(node);
    }
  }

  #findLastUses(): void {
    this.nodes.forEach((node, step) => {
      for (const input of node.inputs) if (input) this.#lastUse.set(input, step);
    });
  }

  #assignStorage(node: Node, step: number): void {
    for (const input of node.inputs) {
      const storage = input && this.storages.get(input);
      if (storage) storage.last = Math.max(storage.last, step);
    }
    node.outputs.forEach((value, index) => {
      const shared = this.#sharedStorage(node, index, step);
      const destination = this.#destinations.get(value);
      const storage: Storage = shared ?? {
        bytes: bytesOf(value),
        place: placeOf(value, this.parameters, this.states),
        first: step,
        last: step,
      };
      if (destination) storage.place = placeOf(destination, this.parameters, this.states);
      storage.last = Math.max(storage.last, this.#lastUse.get(value) ?? step);
      this.storages.set(value, storage);
    });
  }

  /** The input whose memory output `index` of `node` takes over, if any. */
  #sharedStorage(node: Node, index: number, step: number): Storage | undefined {
    const output = node.outputs[index] as Value;
    for (const { output: position, input, kind } of node.op.sharing ?? []) {
      const value = position === index ? node.inputs[input] : undefined;
      const storage = value && this.storages.get(value);
      if (!storage) continue;
      if (kind !== 'may') return storage;
      const taken = node.outputs.some((other) => this.storages.get(other) === storage);
      // A result may be written before another input has been read to its end.
      const alone = node.inputs.every((other, place) => place === input || !other || this.storages.get(other) !== storage);
      const free = storage.place === undefined && storage.last === step && !this.#destinations.has(output) && !taken && alone;
      if (free && storage.bytes === bytesOf(output)) return storage;
    }
    return undefined;
  }
}

/**
 * Lowers `graph` to a plan. It runs the nodes that write memory (assignments, outputs, optimizers) and what these depend on, in the graph's
 * order.
 */
export function lower(graph: Graph, options: LowerOptions): Plan {
  const lowering = new Lowering(graph, options);
  const { storages, steps } = lowering;
  const used = new Set<Value>();
  for (const node of steps) for (const value of [...node.inputs, ...node.outputs]) if (value) used.add(value);

  const workspace = [...new Set([...used].map((value) => storages.get(value) as Storage))].filter(({ place }) => place === undefined);
  const placement = placeLifetimes(workspace.map(({ bytes, first, last }) => ({ size: bytes, first, last })));
  workspace.forEach((storage, index) => {
    storage.place = { buffer: 'workspace', offset: placement.offsets[index] as number };
  });

  const bytes = new Map<string, number>([['workspace', placement.size]]);
  const arenaBytes = 4 * lowering.parameters.size;
  for (const value of used) {
    const { buffer, offset } = (storages.get(value) as Storage).place as Place;
    bytes.set(buffer, Math.max(bytes.get(buffer) ?? 0, offset + bytesOf(value)));
  }
  for (const name of ['parameters', 'gradients']) if (bytes.has(name)) bytes.set(name, arenaBytes);
  if (bytes.has('state')) bytes.set('state', 4 * lowering.states.size);
  if (bytes.has('control')) bytes.set('control', controlBytes);
  const buffers: PlanBuffer[] = [...bytes].map(([name, size]) => ({ name, bytes: size }));
  const bufferIndex = new Map(buffers.map(({ name }, index) => [name, index]));

  const tensors: PlanTensor[] = [];
  const tensorIndex = new Map<Value, number>();
  const indexOf = (value: Value): number => {
    let index = tensorIndex.get(value);
    if (index === undefined) {
      const { buffer, offset } = (storages.get(value) as Storage).place as Place;
      index = tensors.push({ type: value.type, shape: value.shape, buffer: bufferIndex.get(buffer) as number, offset }) - 1;
      tensorIndex.set(value, index);
    }
    return index;
  };
  const planSteps: PlanStep[] = steps.map((node) => ({
    op: node.op.name,
    label: node.label,
    inputs: node.inputs.map((value) => (value ? indexOf(value) : -1)),
    outputs: node.outputs.map(indexOf),
    attributes: node.attributes,
    mutates: node.op.mutates ?? [],
  }));
  return { version: 1, name: options.name, buffers, tensors, steps: planSteps };
}
