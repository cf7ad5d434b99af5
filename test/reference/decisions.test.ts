/** Following another machine's decisions must keep them through the backward ops, and count those that differ. */
import test from 'ava';
import { Graph, type Value } from '../../lib/graph/graph.js';
import { attentionFunction } from '../../lib/graph/ops/attention_function.js';
import { relu } from '../../lib/graph/ops/relu.js';
import { relu6 } from '../../lib/graph/ops/relu6.js';
import { reshape } from '../../lib/graph/ops/reshape.js';
import { type Differences, decidingLogits, followDecision } from './decisions.js';
import { evaluate } from './operations.js';
import { tensorOf } from './tensor.js';

/** Follows `decision` from x, then runs the backward op on ones: y, the gradient, and the differences. */
function follow(op: (x: Value) => Value, x: number[], decision: number[]) {
  const { node } = op(new Graph().input('x', [x.length]));
  const differences: Differences = { count: 0, largest: 0 };
  const [y] = followDecision(node, [tensorOf([x.length], x)], Float64Array.from(decision), differences);
  const ones = tensorOf([x.length], new Float64Array(x.length).fill(1));
  const [dx] = evaluate(`${node.op.name}_backward`, [ones, y], {}, [[x.length]]);
  return { y: [...y!.data], gradient: [...dx!.data], differences };
}

test('relu follows on which side of zero the other machine was', (t) => {
  const { y, gradient, differences } = follow(relu, [-2, 2, -1e-12, 1e-12], [0, 2, 1e-9, 0]);
  t.deepEqual(gradient, [0, 1, 1, 0]);
  t.deepEqual(y, [0, 2, Number.MIN_VALUE, 0]);
  t.is(differences.count, 2);
  t.true(differences.largest > 5e-13 && differences.largest < 1e-12);
});

test('relu6 follows at zero and at six', (t) => {
  const { y, gradient, differences } = follow(relu6, [-2, 2, 7, -1e-12, 1e-12, 6 + 1e-12, 6 - 1e-12], [0, 2, 6, 1e-9, 0, 5.9999, 6]);
  t.deepEqual(gradient, [0, 1, 0, 1, 0, 1, 0]);
  t.deepEqual(y, [0, 2, 6, Number.MIN_VALUE, 0, 6 - 2 ** -50, 6]);
  t.is(differences.count, 4);
  t.true(differences.largest > 1e-13 && differences.largest < 1e-12);
});

test('attention functions follow the signs of their logits', (t) => {
  const graph = new Graph();
  const logits = relu6(graph.input('z', [1, 1, 4]));
  const options = { assignment: [[0]] };
  const attention = (name: 'contrasting' | 'softmax') =>
    attentionFunction(logits, graph.control('temperature'), { ...options, function: name });
  t.is(decidingLogits(attention('softmax').node), undefined);
  const { node } = decidingLogits(attention('contrasting').node)!;
  t.is(node, logits.node);

  const input = reshape(graph.input('x', [4]), [1, 1, 4]);
  const differences: Differences = { count: 0, largest: 0 };
  const x = [-1e-12, 1e-12, 3, -2];
  const [z] = followDecision(input.node, [tensorOf([4], x)], Float64Array.from([1e-9, 1e-9, 3, -2]), differences);
  t.deepEqual([...z!.data], [Number.MIN_VALUE, 1e-12, 3, -2]);
  t.is(differences.count, 1);
  t.true(differences.largest > 1e-13 && differences.largest < 1e-12);
});
