/** Which tensors the pass makes bfloat16, and where it has to cast; the numbers are tested on random graphs (test/properties/plan.test.ts). */
import test from 'ava';
import { Graph } from '../../lib/graph/graph.js';
import { add } from '../../lib/graph/ops/add.js';
import { cast } from '../../lib/graph/ops/cast.js';
import { conv2d } from '../../lib/graph/ops/conv2d.js';
import { output } from '../../lib/graph/ops/copy.js';
import { relu } from '../../lib/graph/ops/relu.js';
import { reshape } from '../../lib/graph/ops/reshape.js';
import { selfAttention } from '../../lib/graph/ops/self_attention.js';
import { lower } from '../../lib/graph/passes/lower.js';
import { inPrecision } from '../../lib/graph/passes/precision.js';
import { inferencePlan } from '../../lib/models/instance.js';
import { Model } from '../../lib/models/model.js';
import { trainingPlan } from '../../lib/models/training_plan.js';
import type { Plan } from '../../lib/plan/plan.js';

const training = {
  batch: 8,
  imageSize: 64,
  optimizer: { kind: 'sgd', momentum: 0.9, nesterov: false },
  labelSmoothing: 0,
  precision: 'bfloat16',
} as const;

/** Shapes of what the plan casts, with the type that they become. */
function casts(plan: Plan): string[] {
  return plan.steps
    .filter(({ op }) => op === 'cast')
    .map(({ outputs: [y] }) => plan.tensors[y!]!)
    .map(({ type, shape }) => `${type} ${shape.join('x')}`);
}

/** The plan of a training step or of inference on images of 64 pixels. */
function planOf(network: string, kind: 'training' | 'inference'): Plan {
  const model = new Model({ network });
  return kind === 'training' ? trainingPlan(model, training) : inferencePlan(model, 8, 64, 64, 'bfloat16');
}

for (const network of ['resnet18', 'kw_resnet18', 'kw_mobilenetv2_100']) {
  for (const kind of ['training', 'inference'] as const) {
    test(`${kind} of ${network} casts the images and nothing else`, (t) => {
      const plan = planOf(network, kind);
      t.deepEqual(casts(plan), ['bfloat16 8x64x64x3']);
      const large = plan.tensors.filter(({ type, shape, buffer }) => type === 'float32' && shape.length >= 4 && buffer === 0);
      t.deepEqual(large, [], 'every activation and its gradient is bfloat16');
    });
  }
}

test('parameters, gradients, statistics, attention, logits and the loss stay float32', (t) => {
  const { tensors, buffers, steps } = planOf('kw_resnet18', 'training');
  for (const { type, shape, buffer } of tensors) {
    const { name } = buffers[buffer]!;
    if (name !== 'workspace') t.true(type !== 'bfloat16', `${name} [${shape}]`);
    else if (shape.length < 4) t.true(type === 'float32', `workspace [${shape}]`);
  }
  t.true(steps.some(({ op }) => op === 'attention_function'));
});

test('training in bfloat16 needs little more than half the memory of float32', (t) => {
  const model = new Model({ network: 'kw_resnet18' });
  const workspace = (precision: 'float32' | 'bfloat16') =>
    trainingPlan(model, { ...training, imageSize: 224, precision }).buffers[0]!.bytes;
  const ratio = workspace('bfloat16') / workspace('float32');
  t.true(ratio > 0.45 && ratio < 0.6, `${ratio}`);
});

test('an op without bfloat16 gets one cast of each value, however many read it', (t) => {
  const graph = new Graph();
  const x = graph.input('x', [2, 3, 3, 4]);
  const weight = graph.parameter('weight', [4, 4, 1, 1], { channelAxis: 1, initialization: { kind: 'ones' } });
  const y = relu(conv2d(x, weight, undefined, {}));
  const tokens = conv2d(y, weight, undefined, {});
  const [queries, residual] = [reshape(tokens, [2, 9, 4]), reshape(y, [2, 9, 4])];
  output('attended', add(selfAttention(queries, queries, queries, { heads: 2 }), residual));
  output('y', y);
  const plan = lower(inPrecision(graph, 'bfloat16'), { name: 'test' });
  // x for the convolution; the tokens for the attention; its result to be added; both outputs, which are float32.
  t.deepEqual(casts(plan), ['bfloat16 2x3x3x4', 'float32 2x9x4', 'bfloat16 2x9x4', 'float32 2x9x4', 'float32 2x3x3x4']);
  t.is(inPrecision(graph, 'float32'), graph);
});

test('activations of two types do not meet, and only numbers are cast', (t) => {
  const graph = new Graph();
  const x = graph.input('x', [2, 3]);
  const rounded = cast(x, 'bfloat16');
  t.is(rounded.type, 'bfloat16');
  t.is(cast(rounded, 'bfloat16'), rounded);
  t.throws(() => add(x, rounded), { message: '[add] expected b to be float32 but received bfloat16' });
  t.throws(() => cast(graph.input('targets', [2], 'int32'), 'float32'), {
    message: '[cast] expected float32 or bfloat16 but received int32',
  });
});
