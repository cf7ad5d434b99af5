/** One prepared graph and its stored numbers on some machine; the golden runners speak to this and do not know which machine it is. */
import { Arena } from '../../lib/graph/arena.js';
import { type TensorDeclaration, toLogical, toPhysical } from '../../lib/graph/declaration.js';
import type { Graph } from '../../lib/graph/graph.js';
import type { LeafAttributes } from '../../lib/graph/ops/leaf.js';
import { type InterpretOptions, interpret, LeafMemory } from '../reference/graph_interpreter.js';
import { leafTypes } from './leaves.js';
import type { Precision } from './tolerance.js';

export type LeafKind = LeafAttributes['kind'];

export interface Session {
  /** Sets a leaf; values are in physical order. */
  write(kind: LeafKind, name: string, values: ArrayLike<number>): Promise<void>;
  /** A leaf's numbers in physical order. */
  read(kind: LeafKind, name: string): Promise<Float64Array>;
  run(): Promise<void>;
  close(): void;
}

export interface Machine {
  readonly name: string;
  readonly precision: Precision;
  prepare(graph: Graph, name: string): Promise<Session>;
}

export class ReferenceSession implements Session {
  private readonly memory: LeafMemory;

  constructor(private readonly graph: Graph) {
    const arena = new Arena(graph.parameters.values());
    this.memory = new LeafMemory({
      size: arena.size,
      offsets: new Map(arena.entries.map(({ declaration, offset }) => [declaration.name, offset])),
    });
  }

  async write(kind: LeafKind, name: string, values: ArrayLike<number>): Promise<void> {
    const place = this.place(kind, name);
    // A control scalar that this graph does not use has no place; setting it changes nothing.
    if (place) place.set(values);
  }

  async read(kind: LeafKind, name: string): Promise<Float64Array> {
    const place = this.place(kind, name);
    if (!place) throw new Error(`the graph has no ${kind} '${name}'`);
    return place.slice();
  }

  async run(options: Pick<InterpretOptions, 'follow' | 'disturb'> = {}): Promise<void> {
    interpret(this.graph, this.memory, options);
  }

  close(): void {}

  private place(kind: LeafKind, name: string): Float64Array | undefined {
    const shape = leafTypes(this.graph).get(`${kind} ${name}`)?.shape;
    if (!shape && kind !== 'control') throw new Error(`the graph has no ${kind} '${name}'`);
    return shape && this.memory.at({ kind, name, shape });
  }
}

export const referenceMachine: Machine = {
  name: 'reference',
  precision: 'float64',
  prepare: async (graph) => new ReferenceSession(graph),
};

/** Sets a parameter or a running statistic from values in PyTorch's order. */
export async function writeLogical(
  session: Session,
  kind: LeafKind,
  declaration: TensorDeclaration,
  values: ArrayLike<number>,
): Promise<void> {
  const physical = new Float64Array(values.length);
  toPhysical(declaration.shape, declaration.channelAxis, values, physical);
  await session.write(kind, declaration.name, physical);
}

/** A parameter, its gradient or a running statistic in PyTorch's order. */
export async function readLogical(session: Session, kind: LeafKind, declaration: TensorDeclaration): Promise<Float64Array> {
  const physical = await session.read(kind, declaration.name);
  const logical = new Float64Array(physical.length);
  toLogical(declaration.shape, declaration.channelAxis, physical, logical);
  return logical;
}

/** An activation in PyTorch's order; `channelAxis` is stored last, and absent where it is last in PyTorch's order too. */
export type Activation = Pick<TensorDeclaration, 'shape' | 'channelAxis'>;

/** N,C,H,W. */
export function imagesOf(shape: readonly number[]): Activation {
  return { shape, channelAxis: 1 };
}

/** Sets an input from an activation in PyTorch's order. */
export async function writeActivation(
  session: Session,
  name: string,
  { shape, channelAxis }: Activation,
  values: ArrayLike<number>,
): Promise<void> {
  const physical = new Float64Array(values.length);
  toPhysical(shape, channelAxis, values, physical);
  await session.write('input', name, physical);
}

/** An output that is an activation (or its gradient), in PyTorch's order. */
export async function readActivation(session: Session, name: string, { shape, channelAxis }: Activation): Promise<Float64Array> {
  const physical = await session.read('output', name);
  const logical = new Float64Array(physical.length);
  toLogical(shape, channelAxis, physical, logical);
  return logical;
}
