/** What becomes of BatchNorm at inference: nothing is left of it in the networks, and the results stay the same. */
import test from 'ava';
import { Graph, type Value } from '../../lib/graph/graph.js';
import { add } from '../../lib/graph/ops/add.js';
import { conv2d } from '../../lib/graph/ops/conv2d.js';
import { output } from '../../lib/graph/ops/copy.js';
import { relu } from '../../lib/graph/ops/relu.js';
import { fuseInference } from '../../lib/graph/passes/fuse_inference.js';
import { fuseMixing } from '../../lib/graph/passes/fuse_mixing.js';
import { lower } from '../../lib/graph/passes/lower.js';
import { newContext } from '../../lib/layers/layer.js';
import { batchNormLayer } from '../../lib/layers/normalization.js';
import { ModelInstance } from '../../lib/models/instance.js';
import { imageSizeOption, Model } from '../../lib/models/model.js';
import { networkNames } from '../../lib/models/registry.js';
import type { Plan } from '../../lib/plan/plan.js';
import { RandomStream } from '../../lib/random.js';
import { bindAll, disposeAll } from '../../lib/runtime/binding.js';
import { Device } from '../../lib/runtime/device.js';
import { eachDevice } from '../devices.js';
import { l2 } from '../golden/tolerance.js';

const [batch, size] = [3, 32];

function inferenceGraph(model: Model): Graph {
  const graph = new Graph();
  output('logits', model.forward(graph, graph.input('images', [batch, size, size, 3]), false));
  return graph;
}

function uniform(count: number, name: string, low: number, high: number): Float32Array {
  const random = new RandomStream(1, name);
  return Float32Array.from({ length: count }, () => random.uniform(low, high));
}

async function logits(instance: ModelInstance, plan: Plan): Promise<Float64Array> {
  const program = instance.device.prepare(plan);
  const bytes = (name: string) => plan.buffers.find((buffer) => buffer.name === name)?.bytes ?? 0;
  const [images, result] = [instance.device.allocate(bytes('images')), instance.device.allocate(bytes('logits'))];
  bindAll(program, { images, logits: result, parameters: instance.parameters, state: instance.state, control: instance.control });
  await images.write(uniform(batch * size * size * 3, 'images', -1, 1));
  await program.run();
  const values = Float64Array.from(new Float32Array(await result.read()));
  disposeAll([program, images, result]);
  return values;
}

// The others have no BatchNorm after a convolution; the methods' large networks are made of the same layers as the small ones.
// Untrained DCD, whose matrices grow with what they multiply, exceeds float32 without the batch's statistics; its golden network is folded.
const compared = networkNames().filter((name) => /resnet|mobilenet/.test(name) && !/^(?!kw_).+_resnet50$|^dcd_/.test(name));
for (const network of compared) {
  eachDevice(
    test,
    `${network} computes the same with and without BatchNorm folded`,
    async (t, name) => {
      using device = Device.open(name);
      const model = new Model({ network, classes: 10, ...imageSizeOption(network, size) });
      using instance = new ModelInstance(model, device);
      await instance.initialize(0);
      await instance.state.write(uniform(model.states.size, 'state', 0.5, 1));
      const graph = inferenceGraph(model);
      const arenas = { parameters: model.parameters, states: model.states };
      const folded = fuseInference(graph);
      const convolutions = ['conv2d', 'mixed_conv2d'];
      const left = folded.nodes.filter(
        ({ op, inputs }) => op.name === 'batch_norm_inference' && convolutions.includes(inputs[0]?.node.op.name ?? ''),
      );
      t.is(left.length, 0, 'a BatchNorm after a convolution was left');
      const expected = await logits(instance, lower(fuseMixing(graph), { name: 'as it is', ...arenas }));
      const actual = await logits(instance, lower(folded, { name: 'folded', ...arenas }));
      const difference = l2(expected.map((value, i) => value - actual[i]!));
      t.true(difference <= 2e-5 * l2(expected), `the logits are off by ${difference} of ${l2(expected)}`);
    },
    'heavy',
  );
}

function norms(build: (graph: Graph, x: Value, weight: Value) => void): string[] {
  const graph = new Graph();
  build(
    graph,
    graph.input('x', [1, 3, 3, 4]),
    graph.parameter('weight', [4, 4, 1, 1], { initialization: { kind: 'ones' }, channelAxis: 1 }),
  );
  return fuseInference(graph)
    .nodes.map(({ op }) => op.name)
    .filter((name) => !/leaf|copy/.test(name));
}

test('a convolution takes in what follows it, unless something else reads it too', (t) => {
  const normalized = (graph: Graph, x: Value, name = 'bn') => batchNormLayer(newContext(graph, false), x, name);
  t.deepEqual(
    norms((graph, x, weight) => output('y', relu(add(x, normalized(graph, conv2d(x, weight)))))),
    ['normalized_conv2d'],
  );
  t.deepEqual(
    norms((graph, x, weight) => {
      const convolved = conv2d(x, weight);
      output('y', relu(normalized(graph, convolved)));
      output('convolved', convolved);
    }),
    ['conv2d', 'batch_norm_inference', 'relu'],
  );
  t.deepEqual(
    norms((graph, x, weight) => {
      const y = normalized(graph, conv2d(x, weight));
      output('y', relu(y));
      output('normalized', y);
    }),
    ['normalized_conv2d', 'relu'],
  );
  t.deepEqual(
    norms((graph, x, weight) => output('y', add(normalized(graph, conv2d(x, weight), 'a'), normalized(graph, conv2d(x, weight), 'b')))),
    ['normalized_conv2d', 'normalized_conv2d'],
    'the later one takes in the addition',
  );
});

test('a result takes over the memory of its residual, but not when that is also the input of the convolution', (t) => {
  const places = (residualOf: (x: Value) => Value) => {
    const graph = new Graph();
    const x = relu(graph.input('x', [1, 3, 3, 4]));
    const residual = residualOf(x);
    const weight = graph.parameter('weight', [4, 4, 1, 1], { initialization: { kind: 'ones' }, channelAxis: 1 });
    const y = add(batchNormLayer(newContext(graph, false), conv2d(x, weight), 'bn'), residual);
    output('y', relu(relu(y)));
    const { tensors, steps } = lower(fuseInference(graph), { name: 'places' });
    const step = steps.find(({ op }) => op === 'normalized_conv2d')!;
    const place = (index: number) => JSON.stringify([tensors[index]?.buffer, tensors[index]?.offset]);
    return { residual: place(step.inputs.at(-1)!), y: place(step.outputs[0]!) };
  };
  const other = places((x) => add(x, x));
  t.is(other.y, other.residual);
  const own = places((x) => x);
  t.not(own.y, own.residual);
});
