/** Filling a graph's stored tensors from a case, and checking that graph and case have the same tensors. */
import type { TensorDeclaration } from '../../lib/graph/declaration.js';
import type { Graph } from '../../lib/graph/graph.js';
import { elementCount } from '../reference/tensor.js';
import { fillFrom } from './fill.js';
import type { FilledTensor } from './format.js';
import { type Session, writeLogical } from './session.js';

/** A stored tensor by its official name, trained or not. */
export function declarationOf(graph: Graph, name: string): { kind: 'parameter' | 'state'; declaration: TensorDeclaration } {
  const parameter = graph.parameters.get(name);
  if (parameter) return { kind: 'parameter', declaration: parameter };
  const state = graph.states.get(name);
  if (state) return { kind: 'state', declaration: state };
  throw new Error(`the graph has no tensor '${name}'`);
}

/** Throws unless the graph has exactly the case's tensors, with the same shapes. */
export function checkStoredTensors(graph: Graph, params: readonly FilledTensor[]): void {
  const named = new Set(params.map(({ name }) => name));
  for (const name of [...graph.parameters.keys(), ...graph.states.keys()])
    if (!named.has(name)) throw new Error(`the case has no tensor '${name}'`);
  for (const { name, shape } of params) {
    const { declaration } = declarationOf(graph, name);
    if (`${declaration.shape}` !== `${shape}`) throw new Error(`'${name}' has shape [${declaration.shape}], the case says [${shape}]`);
  }
}

/** Writes every stored tensor of the case. */
export async function fillStoredTensors(session: Session, graph: Graph, params: readonly FilledTensor[]): Promise<void> {
  for (const { name, key, shape, lo, hi } of params) {
    const { kind, declaration } = declarationOf(graph, name);
    await writeLogical(session, kind, declaration, fillFrom(key, lo, hi, elementCount(shape)));
  }
}
