/** Which nodes the pass joins, and which it must leave; that the numbers stay is tested on random graphs (test/properties/plan.test.ts). */
import test from 'ava';
import { gradients } from '../../lib/graph/autodiff.js';
import { Graph, type Value } from '../../lib/graph/graph.js';
import { add } from '../../lib/graph/ops/add.js';
import { assign, output } from '../../lib/graph/ops/copy.js';
import { globalAvgPool } from '../../lib/graph/ops/global_avg_pool.js';
import { relu } from '../../lib/graph/ops/relu.js';
import { relu6 } from '../../lib/graph/ops/relu6.js';
import { sumOfSquares } from '../../lib/graph/ops/sum_of_squares.js';
import { fuseNormalization } from '../../lib/graph/passes/fuse_normalization.js';
import { fuseTraining } from '../../lib/graph/passes/fuse_training.js';
import { lower } from '../../lib/graph/passes/lower.js';
import { newContext } from '../../lib/layers/layer.js';
import { batchNormLayer } from '../../lib/layers/normalization.js';
import { Model } from '../../lib/models/model.js';
import { trainingGraph } from '../../lib/models/training_plan.js';

/** The steps, with the activation of each norm, of a graph whose result is pooled and whose x and parameters have gradients. */
function steps(build: (x: Value, norm: (value: Value, name: string) => Value) => Value): string[] {
  const graph = new Graph();
  const context = newContext(graph, true);
  const x = graph.input('x', [2, 3, 3, 4]);
  const y = globalAvgPool(build(x, (value, name) => batchNormLayer(context, value, name)));
  output('squares', sumOfSquares(y));
  const parameters = [...graph.parameters.values()].map(({ name, shape, ...options }) => graph.parameter(name, shape, options));
  const [dx, ...rest] = gradients([{ value: y, gradient: graph.input('dy', y.shape) }], [x, ...parameters]) as Value[];
  output('dx', dx!);
  rest.forEach((gradient, i) => assign(graph.gradientOf(parameters[i]!), gradient));
  const { steps: list } = lower(fuseNormalization(graph), { name: 'test' });
  return list
    .filter(({ op }) => !/^(update_|sum_of|global_avg_pool$)/.test(op))
    .map(({ op, attributes, inputs }) =>
      op.startsWith('batch_norm') ? `${op} ${String(attributes.activation)} ${inputs.filter((input) => input >= 0).length}` : op,
    );
}

test('an activation joins the norm, forward and backward', (t) => {
  t.deepEqual(
    steps((x, norm) => relu(norm(x, 'a'))),
    ['batch_norm relu 3', 'global_avg_pool_backward', 'batch_norm_backward relu 6'],
  );
  t.deepEqual(
    steps((x, norm) => relu6(norm(x, 'a'))),
    ['batch_norm relu6 3', 'global_avg_pool_backward', 'batch_norm_backward relu6 6'],
  );
});

test('a residual joins the norm, with an activation or without; x gets the gradient that passes', (t) => {
  const activated = ['batch_norm relu 4', 'global_avg_pool_backward', 'batch_norm_backward relu 7', 'add'];
  t.deepEqual(
    steps((x, norm) => relu(add(x, norm(x, 'a')))),
    activated,
  );
  t.deepEqual(
    steps((x, norm) => relu(add(norm(x, 'a'), x))),
    activated,
  );
  t.deepEqual(
    steps((x, norm) => add(norm(x, 'a'), x)),
    ['batch_norm none 4', 'global_avg_pool_backward', 'batch_norm_backward none 5', 'add'],
  );
});

test('of two norms that are added the later one takes the sum', (t) => {
  t.deepEqual(
    steps((x, norm) => relu(add(norm(relu(x), 'b'), norm(x, 'a')))),
    [
      'relu',
      'batch_norm none 3',
      'batch_norm relu 4',
      'global_avg_pool_backward',
      'batch_norm_backward relu 7',
      'batch_norm_backward none 5',
      'relu_backward',
      'add',
    ],
  );
});

test('what another node reads is not joined', (t) => {
  const result = steps((x, norm) => {
    const y = norm(x, 'a');
    return add(relu(y), relu6(y));
  });
  t.true(result.includes('relu') && result.includes('relu6') && result.includes('batch_norm none 3'));
  const early = steps((x, norm) => {
    const y = norm(x, 'a');
    return relu(add(y, relu(x)));
  });
  t.deepEqual(early.slice(0, 4), ['batch_norm none 3', 'relu', 'add', 'relu'], 'the residual is made after the norm');
});

test("a pooling's gradient adds to the sum before it", (t) => {
  const graph = new Graph();
  const x = graph.input('x', [2, 3, 3, 4]);
  const pooled = globalAvgPool(relu(x));
  const y = relu6(x);
  const [dx] = gradients([{ value: pooled }, { value: y, gradient: y }], [x]);
  const [again] = gradients(
    [
      { value: globalAvgPool(x), gradient: pooled },
      { value: y, gradient: y },
    ],
    [x],
  );
  output('dx', dx!);
  output('again', again!);
  const { steps: list, tensors } = lower(fuseNormalization(graph), { name: 'test' });
  const accumulating = list.filter(({ op, inputs }) => op === 'global_avg_pool_backward' && inputs.length === 2);
  t.is(accumulating.length, 1, 'the other one is masked before it is added');
  t.is(list.filter(({ op }) => op === 'add').length, 1);
  t.deepEqual(tensors[accumulating[0]!.inputs[1]!]!.shape, [2, 3, 3, 4]);
});

test('a ResNet trains without separate activations, and the sums of its shortcuts are in the norms', (t) => {
  const options = { batch: 2, imageSize: 32, optimizer: { kind: 'sgd', momentum: 0.9, nesterov: false }, labelSmoothing: 0 } as const;
  for (const network of ['resnet18', 'kw_resnet50']) {
    const model = new Model({ network, stem: 'small', imageSize: 32, classes: 10 });
    const plan = lower(fuseTraining(trainingGraph(model, options)), { name: network, parameters: model.parameters, states: model.states });
    const count = (op: string) => plan.steps.filter((step) => step.op === op).length;
    t.is(count('relu') + count('relu_backward'), 0, network);
    t.is(count('batch_norm'), count('batch_norm_backward'), network);
  }
});
