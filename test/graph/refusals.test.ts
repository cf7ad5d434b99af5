/** What ops refuse when a graph is built, and the sentence that they do it with. */
import test from 'ava';
import { KernelWarehouseError } from '../../lib/errors.js';
import { Graph, type Value } from '../../lib/graph/graph.js';
import { adaptiveAvgPool2d } from '../../lib/graph/ops/adaptive_avg_pool2d.js';
import { type AttentionFunction, attentionFunction } from '../../lib/graph/ops/attention_function.js';
import { addToPositions } from '../../lib/graph/ops/global_avg_pool.js';
import { operations } from '../../lib/graph/ops/index.js';
import { multiply } from '../../lib/graph/ops/multiply.js';
import { selfAttention } from '../../lib/graph/ops/self_attention.js';
import { transpose } from '../../lib/graph/ops/transpose.js';

/** Builds with inputs of the given shapes; returns the refusal's message. */
function refusal(shapes: readonly (readonly number[])[], build: (...inputs: Value[]) => unknown): string {
  const graph = new Graph();
  try {
    build(...shapes.map((shape, i) => graph.input(`input${i}`, shape)));
  } catch (error) {
    if (error instanceof KernelWarehouseError && error.code === 'ERR_KW_SHAPE') return error.message;
    throw error;
  }
  return 'accepted';
}

test('multiply wants a factor of as many axes, each 1 or as in x', (t) => {
  const expected = 'expected a factor with 3 axes, each 1 or as in x [2, 4, 3], but received';
  t.is(refusal([[2, 4, 3], [3]], multiply), `[multiply] ${expected} [3]; reshape it first`);
  t.is(
    refusal(
      [
        [2, 4, 3],
        [2, 2, 1],
      ],
      multiply,
    ),
    `[multiply] ${expected} [2, 2, 1]; reshape it first`,
  );
  const backward = (dy: Value, x: Value): unknown =>
    dy.graph.append(operations.get('multiply_backward_factor')!, [dy, x], { factorShape: [1, 4, 2] });
  t.is(
    refusal(
      [
        [2, 4, 3],
        [2, 4, 3],
      ],
      backward,
    ),
    `[multiply_backward_factor] ${expected} [1, 4, 2]; reshape it first`,
  );
});

test('self_attention wants tokens of one shape and heads that divide their channels', (t) => {
  const attend = (heads: number) => (query: Value, key: Value, value: Value) => selfAttention(query, key, value, { heads });
  const tokens = [2, 5, 6];
  t.is(refusal([tokens, tokens, tokens], attend(3)), 'accepted');
  for (const heads of [4, 0, 1.5]) {
    t.is(
      refusal([tokens, tokens, tokens], attend(heads)),
      `[self_attention] expected a number of heads that divides 6 channels but received ${heads}`,
    );
  }
  t.is(refusal([tokens, [2, 4, 6], tokens], attend(3)), '[self_attention] expected key of shape [2, 5, 6] but received [2, 4, 6]');
  t.is(refusal([[5, 6], tokens, tokens], attend(3)), '[self_attention] expected query of shape [N, T, D] but received [5, 6]');
});

test('attention_function wants one of its functions, and an assignment of every mixture or of none', (t) => {
  const attend = (name: string, assignment: readonly (readonly number[])[]) => (logits: Value, temperature: Value) =>
    attentionFunction(logits, temperature, { function: name as AttentionFunction, assignment });
  const shapes = [[1, 2, 4], []];
  t.is(refusal(shapes, attend('softmax', [[0], [3]])), 'accepted');
  t.is(refusal(shapes, attend('softmax', [])), 'accepted');
  t.is(
    refusal(shapes, attend('tanh', [])),
    "[attention_function] expected one of the functions contrasting, softmax, sigmoid, rectified but received 'tanh'",
  );
  t.is(
    refusal(shapes, attend('softmax', [[0]])),
    '[attention_function] expected an assignment for each of 2 mixtures, or none, but received 1',
  );
  t.is(refusal(shapes, attend('softmax', [[0], [4]])), '[attention_function] the assignment names a cell outside 0..3');
});

test('attention_function without a zero cell gives every logit an attention, and a softmax temperature is a scalar', (t) => {
  const graph = new Graph();
  const logits = graph.input('logits', [1, 2, 4]);
  const divided = (softmaxTemperature: Value) =>
    attentionFunction(logits, graph.control('temperature'), { function: 'softmax', assignment: [], zeroCell: false, softmaxTemperature });
  t.deepEqual(divided(graph.control('softmaxTemperature')).shape, [1, 2, 4]);
  t.throws(() => divided(graph.input('many', [2])), {
    code: 'ERR_KW_SHAPE',
    message: '[attention_function] expected softmax temperature of shape [] but received [2]',
  });
});

test('backward ops of activations want two tensors of one shape', (t) => {
  for (const name of ['relu6_backward', 'gelu_backward', 'sigmoid_backward']) {
    const build = (dy: Value, y: Value): unknown => dy.graph.append(operations.get(name)!, [dy, y], {});
    const second = name === 'gelu_backward' ? 'x' : 'y';
    t.is(refusal([[2, 3], [3]], build), `[${name}] expected ${second} of shape [2, 3] but received [3]`);
  }
});

test('transpose wants every axis once', (t) => {
  const shapes = [[2, 3, 4]];
  t.is(
    refusal(shapes, (x) => transpose(x, [2, 0, 1])),
    'accepted',
  );
  for (const axes of [
    [0, 1],
    [0, 1, 1],
    [0, 1, 3],
    [0, 1, 2, 3],
  ]) {
    t.is(
      refusal(shapes, (x) => transpose(x, axes)),
      `[transpose] expected axes to be an order of the 3 axes of x but received [${axes.join(', ')}]`,
    );
  }
});

test('adaptive_avg_pool2d wants images, and a grid of at least one window', (t) => {
  const pool = (rows: number, columns: number) => (x: Value) => adaptiveAvgPool2d(x, [rows, columns]);
  t.is(refusal([[2, 1, 5, 3]], pool(7, 2)), 'accepted');
  t.is(refusal([[2, 5, 3]], pool(1, 1)), '[adaptive_avg_pool2d] expected x of shape [N, H, W, C] but received [2, 5, 3]');
  for (const size of [0, 1.5]) {
    t.is(
      refusal([[2, 4, 4, 3]], pool(2, size)),
      `[adaptive_avg_pool2d] expected size of two positive whole numbers but received [2, ${size}]`,
    );
  }
});

test('addToPositions wants a row for each sample', (t) => {
  t.is(
    refusal(
      [
        [2, 5, 3],
        [2, 3],
      ],
      addToPositions,
    ),
    'accepted',
  );
  t.is(
    refusal(
      [
        [2, 5, 3],
        [1, 3],
      ],
      addToPositions,
    ),
    '[global_avg_pool_backward] expected dy of shape [2, 3] but received [1, 3]',
  );
});
