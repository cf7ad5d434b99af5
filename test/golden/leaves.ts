import { physicalShape } from '../../lib/graph/declaration.js';
import type { Graph } from '../../lib/graph/graph.js';
import type { TensorType } from '../../lib/graph/operation.js';
import { leafOf } from '../../lib/graph/passes/rewrite.js';

const known = new WeakMap<Graph, Map<string, TensorType>>();

/** Type and physical shape of every leaf that may be written or read, by `kind name`; kept, since a graph's leaves are asked for often. */
export function leafTypes(graph: Graph): ReadonlyMap<string, TensorType> {
  let types = known.get(graph);
  if (!types) {
    types = new Map();
    for (const node of graph.nodes) {
      const leaf = node.outputs[0] && leafOf(node.outputs[0]);
      if (leaf) types.set(`${leaf.kind} ${leaf.name}`, leaf);
    }
    for (const declaration of graph.parameters.values()) {
      const type: TensorType = { type: 'float32', shape: physicalShape(declaration) };
      types.set(`parameter ${declaration.name}`, type).set(`gradient ${declaration.name}`, type);
    }
    for (const declaration of graph.states.values())
      types.set(`state ${declaration.name}`, { type: 'float32', shape: physicalShape(declaration) });
    known.set(graph, types);
  }
  return types;
}
