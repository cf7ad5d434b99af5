/** Every op on every device against the float64 reference, on random shapes and values, in each precision that it knows. */
import test from 'ava';
import fc from 'fast-check';
import { Graph, type Value } from '../../lib/graph/graph.js';
import { output } from '../../lib/graph/ops/copy.js';
import { operations } from '../../lib/graph/ops/index.js';
import { slice } from '../../lib/graph/ops/slice.js';
import { eachDevice, isGpuEmulated } from '../devices.js';
import { nativeMachine } from '../golden/native_session.js';
import { type Machine, referenceMachine } from '../golden/session.js';
import { l2 } from '../golden/tolerance.js';
import { keep } from '../reference/bfloat16.js';
import { evaluateBounded, rounded } from '../reference/error_bounds.js';
import { referenceOperations } from '../reference/operations.js';
import { Draw, type Sample } from './draw.js';
import { samples } from './samples.js';
import { propertySettings } from './settings.js';

/** Of the result's l2, and of each element of it on its own: inputs are at most about 1, and float32 keeps 6e-8 of them. */
const kRelative = 1e-5;
const kAbsolute = 1e-6;

/** How far the whole of a float32 result may be off, and so each element of it. */
function float32Error(values: Float64Array): number {
  return kRelative * l2(values) + kAbsolute * Math.sqrt(values.length);
}
test('every op has a reference and a sample', (t) => {
  const names = [...operations.keys()].filter((name) => name !== 'leaf').sort();
  t.deepEqual(Object.keys(referenceOperations).sort(), names);
  t.deepEqual(Object.keys(samples).sort(), names);
});

/** The op over inputs that are leaves or, `computed`, values of the workspace, whose memory the op may take over. */
function build(name: string, sample: Sample, computed: boolean): Graph {
  const operation = operations.get(name)!;
  const graph = new Graph();
  const inputs = sample.inputs.map((input, i): Value | undefined => {
    const leaf = input && graph.input(`input${i}`, input.shape, input.type);
    return leaf && computed && leaf.type !== 'int32' && leaf.shape.length > 0 ? slice(leaf, 0, leaf.shape.at(-1)!) : leaf;
  });
  graph.append(operation, inputs, sample.attributes).forEach((value, i) => output(`output${i}`, value));
  return graph;
}

/** The same run with the op's activations in bfloat16; undefined for an op that has none. */
function inBfloat16(name: string, sample: Sample): Sample | undefined {
  const { activations } = operations.get(name)!;
  if (!activations) return undefined;
  const isActivation = (position: number) => activations.inputs === 'all' || activations.inputs.includes(position);
  const inputs = sample.inputs.map(
    (input, position) =>
      input && (isActivation(position) ? { ...input, type: 'bfloat16' as const, values: keep('bfloat16', input.values.slice()) } : input),
  );
  const attributes = 'type' in sample.attributes ? { ...sample.attributes, type: 'bfloat16' } : sample.attributes;
  return { ...sample, inputs, attributes };
}

/** Everything that one run writes: outputs, and the inputs of an op that mutates. */
async function run(machine: Machine, name: string, sample: Sample, graph: Graph): Promise<Float64Array[]> {
  const session = await machine.prepare(graph, name);
  try {
    for (const [i, input] of sample.inputs.entries()) if (input) await session.write('input', `input${i}`, input.values);
    await session.run();
    const results: Float64Array[] = [];
    const outputs = graph.nodes.filter(({ attributes }) => attributes.kind === 'output').length;
    for (let i = 0; i < outputs; i++) results.push(await session.read('output', `output${i}`));
    for (const i of operations.get(name)?.mutates ?? []) results.push(await session.read('input', `input${i}`));
    return results;
  } finally {
    session.close();
  }
}

/** Each element of an op's results in bfloat16 against the bound that follows from its terms. */
function checkBfloat16(name: string, sample: Sample, graph: Graph, actual: readonly Float64Array[]): void {
  const outputs = graph.nodes.findLast((node) => node.op.name === name)!.outputs;
  const inputs = sample.inputs.map((input) => input && { shape: input.shape, data: input.values, isBfloat16: input.type === 'bfloat16' });
  const shapes = outputs.map(({ shape }) => shape);
  evaluateBounded(name, inputs, sample.attributes, shapes, float32Error).forEach((before, i) => {
    const { value, error } = outputs[i]!.type === 'bfloat16' ? rounded(before) : before;
    value.data.forEach((expected, element) => {
      const difference = Math.abs(expected - actual[i]![element]!);
      if (difference <= error[element]! || (Number.isNaN(expected) && Number.isNaN(actual[i]![element]))) return;
      const off = `off by ${difference}, at most ${error[element]}, from ${expected}`;
      throw new Error(`element ${element} of result ${i} of ${name} in bfloat16 is ${off}, ${before.value.data[element]} before rounding`);
    });
  });
}

for (const [name, operation] of operations) {
  const sampleOf = samples[name];
  if (!sampleOf) continue;
  eachDevice(test, name, async (t, device) => {
    await fc.assert(
      fc.asyncProperty(fc.gen(), async (generate) => {
        const draw = new Draw(generate);
        const float32 = sampleOf(draw);
        const bfloat16 = inBfloat16(name, float32);
        const sample = bfloat16 && draw.boolean() ? bfloat16 : float32;
        const takesOver = operation.sharing?.some(({ kind }) => kind === 'must') ?? false;
        const graph = build(name, sample, !operation.mutates && (takesOver || draw.boolean()));
        const actual = await run(nativeMachine(device), name, sample, graph);
        if (sample === bfloat16) return checkBfloat16(name, sample, graph, actual);
        const expected = await run(referenceMachine, name, sample, graph);
        expected.forEach((values, i) => {
          const difference = l2(values.map((value, element) => value - actual[i]![element]!));
          const allowed = float32Error(values);
          if (!(difference <= allowed))
            throw new Error(`result ${i} of ${name} is off by ${difference}, at most ${allowed}; its l2 is ${l2(values)}`);
        });
      }),
      propertySettings(device === 'cuda' && isGpuEmulated ? 12 : 40),
    );
    t.pass();
  });
}
