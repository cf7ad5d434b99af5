/** Passes, lowering and the memory planner: whatever they rearrange, the numbers stay those of the graph as it was built. */
import test from 'ava';
import fc from 'fast-check';
import { Arena } from '../../lib/graph/arena.js';
import { gradients } from '../../lib/graph/autodiff.js';
import { Graph, type Value } from '../../lib/graph/graph.js';
import { bytesOf } from '../../lib/graph/operation.js';
import { add } from '../../lib/graph/ops/add.js';
import { concat } from '../../lib/graph/ops/concat.js';
import { assign, output } from '../../lib/graph/ops/copy.js';
import { crossEntropy } from '../../lib/graph/ops/cross_entropy.js';
import { dropout } from '../../lib/graph/ops/dropout.js';
import { globalAvgPool } from '../../lib/graph/ops/global_avg_pool.js';
import { maxPool2d } from '../../lib/graph/ops/max_pool2d.js';
import { sgd } from '../../lib/graph/ops/optimizers.js';
import { relu } from '../../lib/graph/ops/relu.js';
import { relu6 } from '../../lib/graph/ops/relu6.js';
import { reshape } from '../../lib/graph/ops/reshape.js';
import { slice } from '../../lib/graph/ops/slice.js';
import { sumOfSquares } from '../../lib/graph/ops/sum_of_squares.js';
import { fuseInference } from '../../lib/graph/passes/fuse_inference.js';
import { fuseTraining } from '../../lib/graph/passes/fuse_training.js';
import { lower } from '../../lib/graph/passes/lower.js';
import { inPrecision } from '../../lib/graph/passes/precision.js';
import { linearLayer, staticConvolution } from '../../lib/layers/convolution.js';
import { kernelWarehouseConvolution } from '../../lib/layers/kernel_warehouse.js';
import { convolutionSpec, layerShape, newContext } from '../../lib/layers/layer.js';
import { batchNormLayer } from '../../lib/layers/normalization.js';
import { type ControlName, controlSlots } from '../../lib/plan/control.js';
import { placeLifetimes } from '../../lib/plan/memory.js';
import type { Plan } from '../../lib/plan/plan.js';
import { allocate } from '../../lib/warehouse/index.js';
import { leafTypes } from '../golden/leaves.js';
import { l2 } from '../golden/tolerance.js';
import { interpret, LeafMemory } from '../reference/graph_interpreter.js';
import { interpretPlan, PlanMemory, type Range } from '../reference/plan_interpreter.js';
import { elementCount } from '../reference/tensor.js';
import { Draw } from './draw.js';
import { propertySettings } from './settings.js';

const kBound = 1e-9;

/** One training step of a random small network whose KernelWarehouse layers share a warehouse and are joined by shortcuts. */
function randomTrainingGraph(draw: Draw): Graph {
  const [batch, size, channels] = [draw.integer(2, 3), draw.integer(4, 6), draw.choice([4, 8])];
  const specs = Array.from({ length: draw.integer(1, 4) }, (_, i) => {
    const kernel = draw.choice([1, 3]);
    const bias = draw.boolean();
    return convolutionSpec({ name: `layer${i}`, inChannels: channels, outChannels: channels, kernel, padding: (kernel - 1) / 2, bias });
  });
  const shapes = specs.map((spec) => layerShape(spec, 'stage0_layer0_conv0'));
  const convolution = kernelWarehouseConvolution(
    allocate(shapes, { budget: draw.choice([1, 2]), attentionNorm: draw.choice(['batch', 'layer'] as const) }),
  );

  const graph = new Graph();
  const context = newContext(graph, true);
  let y = graph.input('images', [batch, size, size, channels]);
  const images = y;
  for (const spec of specs) {
    const branch = batchNormLayer(context, convolution(context, y, spec), `${spec.name}.bn`);
    const joined = draw.boolean() ? add(branch, y) : branch;
    const active = draw.choice([relu, relu6, (value: Value) => value])(joined);
    y = draw.boolean() ? dropout(active, 0.3, { perSample: draw.boolean(), stream: context.nextStream() }) : active;
  }
  if (draw.boolean()) y = maxPool2d(y, 3, 2, 1);
  const logits = linearLayer(context, globalAvgPool(y), 'fc', 3);
  const { loss } = crossEntropy(logits, graph.input('targets', [batch], 'int32'), 0.1);
  const parameters = [...graph.parameters.values()].map(({ name, shape, ...options }) => graph.parameter(name, shape, options));
  const [dx, ...derived] = gradients([{ value: loss }], [images, ...parameters]) as Value[];
  derived.forEach((gradient, i) => gradient && assign(graph.gradientOf(parameters[i]!), gradient));
  output('loss', loss);
  output('logits', logits);
  output('dx', dx!);
  const arena = new Arena(graph.parameters.values());
  output('squaredNorm', sumOfSquares(graph.arena('gradients', arena.size)));
  const buffers = ['parameters', 'gradients', 'momentum'].map((name) => graph.arena(name, arena.size)) as [Value, Value, Value];
  sgd(...buffers, { momentum: 0.9, nesterov: draw.boolean(), decayed: arena.decayed });
  return graph;
}

/** Inference through static and dynamic convolutions with BatchNorm, whose results are added, activated, pooled and read again at random. */
function randomInferenceGraph(draw: Draw): Graph {
  const [batch, size, channels] = [draw.integer(1, 3), draw.integer(2, 5), draw.choice([4, 8])];
  const specs = Array.from({ length: draw.integer(1, 5) }, (_, i) => {
    const [kernel, bias] = [draw.choice([1, 3]), draw.boolean()];
    return convolutionSpec({ name: `layer${i}`, inChannels: channels, outChannels: channels, kernel, padding: (kernel - 1) / 2, bias });
  });
  const dynamic = kernelWarehouseConvolution(allocate(specs.map((spec) => layerShape(spec, 'stage0_layer0_conv0'))));
  const graph = new Graph();
  const context = newContext(graph, false);
  const values = [graph.input('images', [batch, size, size, channels])];
  const pick = () => draw.choice(values.slice(-4));
  for (const spec of specs) {
    const convolution = draw.choice([dynamic, staticConvolution]);
    const convolved = convolution(context, pick(), spec);
    const normalized = batchNormLayer(context, convolved, `${spec.name}.bn`);
    if (draw.integer(0, 5) === 0) values.push(convolved);
    if (draw.integer(0, 3) === 0) values.push(normalized);
    const joined = draw.boolean() ? (draw.boolean() ? add(normalized, pick()) : add(pick(), normalized)) : normalized;
    if (draw.integer(0, 3) === 0) values.push(joined);
    values.push(draw.choice([relu, relu6, (x: Value) => x])(joined));
  }
  output('pooled', globalAvgPool(pick()));
  output('y', values.at(-1)!);
  if (draw.boolean()) output('again', pick());
  return graph;
}

/** Cheap ops on values picked at random from all before, so that values are read late, often, through views and by ops that work in place. */
function randomGraph(draw: Draw): Graph {
  const graph = new Graph();
  const shape = [4, 6];
  const values = [graph.input('a', shape), graph.input('b', shape), graph.parameter('weight', shape, { initialization: { kind: 'ones' } })];
  const pick = () => draw.choice(values);
  const viewed = () => reshape(reshape(pick(), [24]), shape);
  for (let i = draw.integer(1, 25); i > 0; i--) {
    const choices = [
      () => add(pick(), pick()),
      () => relu(pick()),
      () => relu(viewed()),
      () => dropout(pick(), 0.5, { stream: i }),
      () => concat([slice(pick(), 0, 2), slice(viewed(), 2, 6)]),
      () => add(viewed(), pick()),
    ];
    values.push(draw.choice(choices)());
  }
  for (let i = draw.integer(1, 4); i > 0; i--) output(`output${i}`, pick());
  if (draw.boolean()) assign(graph.gradientOf(values[2]!), pick());
  return graph;
}

type Numbers = Map<string, Float64Array>;

/** Values for everything that a graph reads, by `kind name`. */
function drawLeaves(draw: Draw, graph: Graph): Numbers {
  const values: Numbers = new Map();
  for (const [key, { type, shape }] of leafTypes(graph)) {
    if (/^(parameter|input) /.test(key)) values.set(key, type === 'int32' ? draw.indices(shape, 3).values : draw.tensor(shape).values);
    else if (key.startsWith('state ')) values.set(key, draw.tensor(shape, 0.5, 1).values);
  }
  const control = { temperature: 0.3, learningRate: 0.1, weightDecay: 0.01, seed: draw.integer(0, 1000), step: 1 };
  for (const [name, value] of Object.entries(control)) values.set(`control ${name}`, Float64Array.of(value));
  return values;
}

/** What a step leaves behind: outputs, both arenas, running statistics. */
function interpretGraph(graph: Graph, leaves: Numbers): Numbers {
  const arena = new Arena(graph.parameters.values());
  const memory = new LeafMemory({
    size: arena.size,
    offsets: new Map(arena.entries.map(({ declaration, offset }) => [declaration.name, offset])),
  });
  const at = (key: string) => {
    const shape = leafTypes(graph).get(key)?.shape;
    const [kind, ...name] = key.split(' ');
    return shape && memory.at({ kind: kind as 'input', name: name.join(' '), shape });
  };
  for (const [key, values] of leaves) at(key)?.set(values);
  interpret(graph, memory);
  return new Map(
    [...leafTypes(graph).keys()].filter((key) => /^(output|parameter|gradient|state) /.test(key)).map((key) => [key, at(key)!.slice()]),
  );
}

function interpretLowered(graph: Graph, plan: Plan, leaves: Numbers): Numbers {
  const memory = new PlanMemory(plan);
  const [parameters, states] = [new Arena(graph.parameters.values()), new Arena(graph.states.values())];
  const placeOf = (key: string): [buffer: string, range: Range] | undefined => {
    const [kind, ...rest] = key.split(' ');
    const name = rest.join(' ');
    const bufferName = { parameter: 'parameters', gradient: 'gradients', state: 'state', control: 'control' }[kind!] ?? name;
    if (!plan.buffers.some((buffer) => buffer.name === bufferName)) return undefined;
    const offset =
      kind === 'parameter' || kind === 'gradient'
        ? 4 * parameters.entry(name).offset
        : kind === 'state'
          ? 4 * states.entry(name).offset
          : kind === 'control'
            ? controlSlots[name as ControlName].offset
            : 0;
    return [bufferName, { type: 'float32', offset, count: elementCount(leafTypes(graph).get(key)?.shape ?? []) }];
  };
  for (const [key, values] of leaves) {
    const place = placeOf(key);
    if (place) memory.write(...place, values);
  }
  interpretPlan(plan, memory);
  // A tensor that the plan does not touch keeps its value.
  const after = (key: string) => {
    const place = placeOf(key);
    return place ? memory.read(...place) : (leaves.get(key) ?? new Float64Array(elementCount(leafTypes(graph).get(key)?.shape ?? [])));
  };
  return new Map(
    [...leafTypes(graph).keys()].filter((key) => /^(output|parameter|gradient|state) /.test(key)).map((key) => [key, after(key)]),
  );
}

function expectSame(what: string, expected: Numbers, actual: Numbers): void {
  for (const [key, values] of expected) {
    const difference = l2(values.map((value, i) => value - (actual.get(key)?.[i] ?? Number.NaN)));
    if (!(difference <= kBound * Math.max(1, l2(values)))) throw new Error(`${what}: ${key} is off by ${difference}`);
  }
}

/** Throws unless every read of workspace sees exactly one whole write: no tensor was overwritten, even in part, while it was needed. */
function checkReads(plan: Plan): void {
  const writer = new Int32Array((plan.buffers[0]?.bytes ?? 0) / 2).fill(-1);
  const writes: { offset: number; count: number; step: number }[] = [];
  plan.steps.forEach((step, position) => {
    for (const index of step.inputs) {
      const tensor = plan.tensors[index];
      if (tensor?.buffer !== 0) continue;
      const [offset, count] = [tensor.offset / 2, bytesOf(tensor) / 2];
      const write = writes[writer[offset]!];
      const whole =
        write &&
        write.offset === offset &&
        write.count === count &&
        writer.subarray(offset, offset + count).every((id) => id === writer[offset]);
      if (!whole)
        throw new Error(
          `step ${position} (${step.op}, ${step.label}) reads tensor ${index}, of which parts were overwritten or never written`,
        );
    }
    for (const index of step.outputs) {
      const tensor = plan.tensors[index]!;
      if (tensor.buffer !== 0) continue;
      const [offset, count] = [tensor.offset / 2, bytesOf(tensor) / 2];
      const id = writes.push({ offset, count, step: position }) - 1;
      if (writer.subarray(offset, offset + count).some((other) => writes[other]?.step === position))
        throw new Error(`two outputs of step ${position} overlap`);
      writer.fill(id, offset, offset + count);
    }
  });
}

test('fused graph and lowered plan compute what the graph computes', (t) => {
  fc.assert(
    fc.property(fc.gen(), (generate) => {
      const draw = new Draw(generate);
      const graph = randomTrainingGraph(draw);
      const leaves = drawLeaves(draw, graph);
      const expected = interpretGraph(graph, leaves);
      const fused = fuseTraining(graph);
      if (fused.nodes.some(({ op }) => op.name.startsWith('mix_cells'))) throw new Error('an assembled weight was left in the fused graph');
      expectSame('fused graph', expected, interpretGraph(fused, leaves));
      for (const [what, from] of [
        ['plan', graph],
        ['fused plan', fused],
      ] as const) {
        const plan = lower(from, { name: what });
        checkReads(plan);
        expectSame(what, expected, interpretLowered(from, plan, leaves));
      }
    }),
    propertySettings(),
  );
  t.pass();
});

test('a lowered plan in bfloat16 computes what its graph computes, with the same roundings', (t) => {
  fc.assert(
    fc.property(fc.gen(), (generate) => {
      const draw = new Draw(generate);
      const [graph, fuse] = draw.boolean()
        ? ([randomTrainingGraph(draw), fuseTraining] as const)
        : ([randomInferenceGraph(draw), fuseInference] as const);
      const leaves = drawLeaves(draw, graph);
      const rounded = inPrecision(fuse(graph), 'bfloat16');
      const plan = lower(rounded, { name: 'bfloat16' });
      if (!plan.tensors.some(({ type }) => type === 'bfloat16')) throw new Error('the plan has no bfloat16 tensor');
      checkReads(plan);
      expectSame('plan', interpretGraph(rounded, leaves), interpretLowered(graph, plan, leaves));
    }),
    propertySettings(),
  );
  t.pass();
});

test('the inference program computes what the graph computes', (t) => {
  fc.assert(
    fc.property(fc.gen(), (generate) => {
      const draw = new Draw(generate);
      const graph = randomInferenceGraph(draw);
      const leaves = drawLeaves(draw, graph);
      const expected = interpretGraph(graph, leaves);
      const fused = fuseInference(graph);
      expectSame('fused graph', expected, interpretGraph(fused, leaves));
      const plan = lower(fused, { name: 'inference' });
      checkReads(plan);
      expectSame('plan', expected, interpretLowered(graph, plan, leaves));
    }),
    { ...propertySettings(), numRuns: 3 * (propertySettings().numRuns ?? 1) },
  );
  t.pass();
});

test('the plan of any graph computes what the graph computes', (t) => {
  fc.assert(
    fc.property(fc.gen(), (generate) => {
      const draw = new Draw(generate);
      const graph = randomGraph(draw);
      const leaves = drawLeaves(draw, graph);
      const plan = lower(graph, { name: 'random' });
      checkReads(plan);
      expectSame('plan', interpretGraph(graph, leaves), interpretLowered(graph, plan, leaves));
    }),
    { ...propertySettings(), numRuns: 10 * (propertySettings().numRuns ?? 1) },
  );
  t.pass();
});

test('pieces of workspace that live at the same time never overlap', (t) => {
  const lifetime = fc.record({ size: fc.integer({ min: 1, max: 1000 }), first: fc.nat(20), length: fc.nat(10) });
  fc.assert(
    fc.property(fc.array(lifetime, { maxLength: 30 }), (drawn) => {
      const lifetimes = drawn.map(({ size, first, length }) => ({ size, first, last: first + length }));
      const { offsets, size } = placeLifetimes(lifetimes);
      lifetimes.forEach((a, i) => {
        const start = offsets[i]!;
        if (start % 64 !== 0 || start < 0 || start + a.size > size) throw new Error(`piece ${i} lies at ${start} of ${size} bytes`);
        lifetimes.slice(0, i).forEach((b, j) => {
          const together = a.first <= b.last && b.first <= a.last;
          if (together && start < offsets[j]! + b.size && offsets[j]! < start + a.size) throw new Error(`pieces ${i} and ${j} overlap`);
        });
      });
    }),
    propertySettings(),
  );
  t.pass();
});
