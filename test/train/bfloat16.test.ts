/**
 * Whole training steps in bfloat16, on every device, against the float64 reference, which rounds where docs/ops.md says. How far a device may be follows
 * from the reference itself: how far it moves when all that it computes is disturbed by what float32 sums in another order differ by.
 */
import test from 'ava';
import { describedNetwork } from '../../lib/descriptions/described_network.js';
import { parseDescription } from '../../lib/descriptions/description.js';
import { replaceConvolutions } from '../../lib/descriptions/replace_convolutions.js';
import { physicalShape } from '../../lib/graph/declaration.js';
import { fuseTraining } from '../../lib/graph/passes/fuse_training.js';
import { inPrecision } from '../../lib/graph/passes/precision.js';
import { Model } from '../../lib/models/model.js';
import { registerNetwork } from '../../lib/models/registry.js';
import { trainingGraph } from '../../lib/models/training_plan.js';
import { eachDevice } from '../devices.js';
import { fillFrom, imageBatch } from '../golden/fill.js';
import { nativeMachine } from '../golden/native_session.js';
import { imagesOf, ReferenceSession, type Session, writeActivation } from '../golden/session.js';
import { l2 } from '../golden/tolerance.js';
import { disturbance } from '../reference/disturbance.js';
import { elementCount } from '../reference/tensor.js';

const [batch, imageSize, classes, steps] = [6, 12, 5, 2];
/** The disturbed runs of the reference, and how much farther than the farthest of them a device may be: if weights were not rounded, gradients would be nearly four times as far. */
const [disturbedRuns, factor] = [8, 3];

/** A little of everything: an unmixed stem, 3x3, 1x1, strided and depth-wise mixed convolutions, a residual, pooling, both activations. */
const description = (() => {
  const convolution = (name: string, outChannels: number, kernel: number, options: object = {}) => [
    { kind: 'conv2d', name: `${name}.conv`, outChannels, kernel, padding: (kernel - 1) / 2, ...options },
    { kind: 'batch_norm', name: `${name}.norm` },
  ];
  return parseDescription(
    {
      layers: [
        ...[...convolution('stem', 16, 3), { kind: 'relu' }, { kind: 'max_pool2d', kernel: 3, stride: 2, padding: 1 }],
        { kind: 'residual', name: 'block', layers: [...convolution('block.0', 16, 3), { kind: 'relu' }, ...convolution('block.1', 16, 3)] },
        ...[{ kind: 'relu' }, { kind: 'stage' }, ...convolution('wide', 32, 1, { stride: 2 }), { kind: 'relu6' }],
        ...[...convolution('depthwise', 32, 3, { groups: 32 }), { kind: 'relu6' }, ...convolution('narrow', 24, 1), { kind: 'relu' }],
        ...[{ kind: 'stage' }, { kind: 'global_avg_pool' }, { kind: 'linear', name: 'classifier', outFeatures: 'classes' }],
      ],
    },
    'the network of this test',
  );
})();
registerNetwork('bfloat16_test', describedNetwork(replaceConvolutions(description)));

const graph = (() => {
  const optimizer = { kind: 'sgd', momentum: 0.9, nesterov: false } as const;
  const model = new Model({ network: 'kw_bfloat16_test', classes });
  return inPrecision(fuseTraining(trainingGraph(model, { batch, imageSize, optimizer, labelSmoothing: 0.1 })), 'bfloat16');
})();

/** Norms near one, running variances too, and weights whose sums stay near one. */
function valuesOf(name: string, shape: readonly number[]): Float32Array {
  const spread = shape.length > 1 ? Math.sqrt(3 / elementCount(shape.slice(1))) : 0.3;
  const middle = shape.length === 1 && /(weight|running_var)$/.test(name) ? 1 : 0;
  return fillFrom(`bfloat16/${name}`, middle - spread, middle + spread, elementCount(shape));
}

/** What some steps give, each figure by a name. */
async function train(session: Session, run: () => Promise<void>): Promise<Map<string, Float64Array>> {
  const figures = new Map<string, Float64Array>();
  for (const kind of ['parameter', 'state'] as const) {
    for (const declaration of graph[`${kind}s`].values()) {
      await session.write(kind, declaration.name, valuesOf(declaration.name, physicalShape(declaration)));
    }
  }
  for (let step = 1; step <= steps; step++) {
    await writeActivation(session, 'images', imagesOf([batch, 3, imageSize, imageSize]), imageBatch(`bfloat16/x${step}`, batch, imageSize));
    await session.write(
      'input',
      'targets',
      Array.from({ length: batch }, (_, image) => (image + step) % classes),
    );
    const controls = { temperature: 0.5, learningRate: 0.02, weightDecay: 1e-4, step };
    for (const [slot, value] of Object.entries(controls)) await session.write('control', slot, [value]);
    await run();
    for (const name of ['loss', 'logits', 'gradientSquares']) figures.set(`${name} of step ${step}`, await session.read('output', name));
    for (const { name } of graph.parameters.values())
      figures.set(`gradient of ${name} in step ${step}`, await session.read('gradient', name));
  }
  for (const { name } of graph.parameters.values()) figures.set(`${name} at the end`, await session.read('parameter', name));
  session.close();
  return figures;
}

async function onReference(seed?: number): Promise<Map<string, Float64Array>> {
  const session = new ReferenceSession(graph);
  return train(session, () => session.run(seed === undefined ? {} : { disturb: disturbance(seed) }));
}

const reference = (async () => {
  const exact = await onReference();
  const disturbed: Map<string, Float64Array>[] = [];
  for (let seed = 1; seed <= disturbedRuns; seed++) disturbed.push(await onReference(seed));
  return { exact, disturbed };
})();

/** How far figures are from the exact ones, beside the size of the largest of their kind: a gradient that is nearly zero has no digits of its own. */
function deviations(exact: ReadonlyMap<string, Float64Array>, actual: ReadonlyMap<string, Float64Array>): Map<string, number> {
  const kindOf = (name: string) => /gradient of|at the end/.exec(name)?.[0] ?? name;
  const largest = new Map<string, number>();
  for (const [name, values] of exact) largest.set(kindOf(name), Math.max(largest.get(kindOf(name)) ?? 0, l2(values)));
  return new Map(
    [...exact].map(([name, values]) => {
      const other = actual.get(name)!;
      return [name, l2(values.map((value, i) => value - other[i]!)) / largest.get(kindOf(name))!];
    }),
  );
}

eachDevice(test, 'training steps in bfloat16 are those of the reference', async (t, device) => {
  t.timeout(300_000);
  const { exact, disturbed } = await reference;
  const moved = disturbed.map((run) => deviations(exact, run));
  const session = await nativeMachine(device).prepare(graph, 'bfloat16');
  const actual = deviations(exact, await train(session, () => session.run()));
  let closest = 0;
  for (const [name, deviation] of actual) {
    const allowed = factor * Math.max(1e-7, ...moved.map((run) => run.get(name)!));
    closest = Math.max(closest, deviation / allowed);
    t.true(deviation <= allowed, `${name} is off by ${deviation}, at most ${allowed}`);
  }
  t.log(`at most ${closest.toFixed(2)} of what is allowed; the loss of step ${steps} is off by ${actual.get(`loss of step ${steps}`)}`);
});
