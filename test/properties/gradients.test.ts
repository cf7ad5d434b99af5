/** Every gradient rule, run by the float64 reference, against differences of the reference's forward op. */
import test from 'ava';
import fc from 'fast-check';
import { gradients } from '../../lib/graph/autodiff.js';
import { Graph, type Value } from '../../lib/graph/graph.js';
import { operations } from '../../lib/graph/ops/index.js';
import { interpret, LeafMemory } from '../reference/graph_interpreter.js';
import { evaluate } from '../reference/operations.js';
import type { Tensor } from '../reference/tensor.js';
import { Draw, type Sample } from './draw.js';
import { samples } from './samples.js';
import { propertySettings } from './settings.js';

const kBound = 1e-6;
const kStep = 1e-4;
/** Differences are taken for at most this many elements of each input. */
const kElements = 24;

interface Built {
  readonly graph: Graph;
  readonly inputs: (Value | undefined)[];
  readonly output: Value;
}

function build(name: string, sample: Sample): Built {
  const graph = new Graph();
  const inputs = sample.inputs.map((input, i) => input && graph.input(`input${i}`, input.shape, input.type));
  const output = graph.append(operations.get(name)!, inputs, sample.attributes)[0]!;
  return { graph, inputs, output };
}

/** The sum of the first output times `direction`. */
function objective(
  name: string,
  sample: Sample,
  inputs: readonly (Tensor | undefined)[],
  outputs: readonly (readonly number[])[],
  direction: Float64Array,
): number {
  const y = evaluate(name, inputs, sample.attributes, outputs)[0]!;
  return y.data.reduce((sum, value, i) => sum + value * direction[i]!, 0);
}

/** Five-point central difference along element `index` of input `position`; its error is of order step^4. */
function difference(at: (value: number) => number, centre: number): number {
  return (8 * (at(centre + kStep) - at(centre - kStep)) - (at(centre + 2 * kStep) - at(centre - 2 * kStep))) / (12 * kStep);
}

for (const [name, operation] of operations) {
  if (!operation.gradient) continue;
  test(`gradient of ${name}`, (t) => {
    const sampleOf = samples[name];
    if (!sampleOf) return t.fail(`test/properties/samples.ts has no sample for ${name}`);
    fc.assert(
      fc.property(fc.gen(), (generate) => {
        const draw = new Draw(generate);
        const sample = sampleOf(draw);
        const { graph, inputs, output } = build(name, sample);
        const direction = draw.tensor(output.shape);
        const seed = graph.input('direction', output.shape);
        const wrt = (sample.differentiable ?? []).map((position) => inputs[position]!);
        const shapes = output.node.outputs.map(({ shape }) => shape);
        const derived = gradients([{ value: output, gradient: seed }], wrt);

        const memory = new LeafMemory();
        sample.inputs.forEach((input, i) => input && memory.at({ kind: 'input', name: `input${i}`, shape: input.shape }).set(input.values));
        memory.at({ kind: 'input', name: 'direction', shape: output.shape }).set(direction.values);
        if (derived.some((value) => value === undefined))
          throw new Error(`inputs ${sample.differentiable} of ${name} should all have a gradient`);
        const results = interpret(graph, memory, { wanted: derived as Value[] });

        (sample.differentiable ?? []).forEach((position, i) => {
          const tensors = sample.inputs.map((input) => input && { shape: input.shape, data: input.values.slice() });
          const { data } = tensors[position]!;
          const stride = Math.max(1, Math.floor(data.length / kElements));
          let [error, scale] = [0, 0];
          for (let index = 0; index < data.length; index += stride) {
            const centre = data[index]!;
            const numeric = difference((value) => {
              data[index] = value;
              return objective(name, sample, tensors, shapes, direction.values);
            }, centre);
            data[index] = centre;
            error = Math.max(error, Math.abs(numeric - results[i]!.data[index]!));
            scale = Math.max(scale, Math.abs(numeric));
          }
          // A gradient of exactly zero (temperature 1) leaves only the difference's own rounding, 1e-16 of the objective over the step.
          if (error > kBound * scale + 1e-10) throw new Error(`input ${position} of ${name}: off by ${error}, largest derivative ${scale}`);
        });
      }),
      propertySettings(),
    );
    t.pass();
  });
}
