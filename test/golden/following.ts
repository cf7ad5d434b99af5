/** The float64 reference in step with another machine: it computes everything itself, but its ReLUs, max poolings and the signs in its attention functions are that machine's. */
import type { Graph, Node } from '../../lib/graph/graph.js';
import { output } from '../../lib/graph/ops/copy.js';
import { rewrite } from '../../lib/graph/passes/rewrite.js';
import { type Differences, decidingLogits, decidingOutput } from '../reference/decisions.js';
import { type LeafKind, type Machine, ReferenceSession, type Session } from './session.js';

class FollowingSession implements Session {
  constructor(
    private readonly leader: Session,
    private readonly reference: ReferenceSession,
    /** Nodes that decide, by the output that shows the decision. */
    private readonly deciding: ReadonlyMap<string, Node>,
    private readonly differences: Differences,
  ) {}

  async write(kind: LeafKind, name: string, values: ArrayLike<number>): Promise<void> {
    await this.leader.write(kind, name, values);
    await this.reference.write(kind, name, values);
  }

  read(kind: LeafKind, name: string): Promise<Float64Array> {
    return this.reference.read(kind, name);
  }

  async run(): Promise<void> {
    await this.leader.run();
    const decisions = new Map<Node, Float64Array>();
    for (const [name, node] of this.deciding) decisions.set(node, await this.leader.read('output', name));
    await this.reference.run({ follow: { decisions, differences: this.differences } });
  }

  close(): void {
    this.leader.close();
  }
}

/** `differences` counts, over all runs, where the leader decided otherwise than float64 would. */
export function followingMachine(leader: Machine, differences: Differences): Machine {
  return {
    name: leader.name,
    precision: 'float64',
    async prepare(graph: Graph, name: string): Promise<Session> {
      const copy = rewrite(graph, () => undefined);
      const deciding = new Map<string, Node>();
      for (const node of [...copy.nodes]) {
        const shown = decidingOutput(node);
        const value = shown === undefined ? decidingLogits(node) : node.outputs[shown]!;
        if (!value) continue;
        const place = `decision ${value.node.id}`;
        output(place, value);
        deciding.set(place, value.node);
      }
      return new FollowingSession(await leader.prepare(copy, name), new ReferenceSession(copy), deciding, differences);
    },
  };
}
