/** training-*: a few optimizer steps from given values, on other images and targets in each. */
import { gradients } from '../../lib/graph/autodiff.js';
import { Graph } from '../../lib/graph/graph.js';
import { assign, output } from '../../lib/graph/ops/copy.js';
import { crossEntropy } from '../../lib/graph/ops/cross_entropy.js';
import { adamw, sgd } from '../../lib/graph/ops/optimizers.js';
import { sumOfSquares } from '../../lib/graph/ops/sum_of_squares.js';
import { fuseMixing } from '../../lib/graph/passes/fuse_mixing.js';
import type { Model } from '../../lib/models/model.js';
import { imageBatch } from './fill.js';
import type { TrainingFile } from './format.js';
import { goldenModel } from './model.js';
import { NotRunnable } from './not_runnable.js';
import { type Machine, readLogical, writeActivation } from './session.js';
import { checkStoredTensors, declarationOf, fillStoredTensors } from './stored_tensors.js';
import type { Figure } from './tolerance.js';

/** One step: loss, gradients into their arena, their squared norm, and the optimizer over the arenas. */
function stepGraph(file: TrainingFile, model: Model): Graph {
  const { batch, size, smoothing = 0, optimizer, nesterov = false, eps = 1e-8 } = file.case;
  const graph = new Graph();
  const logits = model.forward(graph, graph.input('images', [batch, size, size, 3]), true);
  const { loss } = crossEntropy(logits, graph.input('targets', [batch], 'int32'), smoothing);
  const parameters = [...graph.parameters.values()].map(({ name, shape, ...options }) => graph.parameter(name, shape, options));
  gradients([{ value: loss }], parameters).forEach((gradient, i) => gradient && assign(graph.gradientOf(parameters[i]!), gradient));
  output('loss', loss);
  const { size: elements, decayed } = model.parameters;
  const arena = (name: string) => graph.arena(name, elements);
  output('squaredNorm', sumOfSquares(arena('gradients')));
  if (optimizer === 'sgd') sgd(arena('parameters'), arena('gradients'), arena('momentum'), { momentum: 0.9, nesterov, decayed });
  else if (optimizer === 'adamw') {
    const moments = [arena('firstMoment'), arena('secondMoment')] as const;
    adamw(arena('parameters'), arena('gradients'), ...moments, { beta1: 0.9, beta2: 0.999, epsilon: eps, decayed });
  } else throw new NotRunnable(`no optimizer '${String(optimizer)}'`);
  return fuseMixing(graph);
}

/** Every figure of the first `steps` steps as computed on `machine`; all steps when absent. */
export async function runTrainingCase(file: TrainingFile, machine: Machine, steps = file.steps.length): Promise<Figure[]> {
  const model = goldenModel(file.case);
  const graph = stepGraph(file, model);
  checkStoredTensors(graph, file.params);
  const session = await machine.prepare(graph, file.case.name);
  await fillStoredTensors(session, graph, file.params);
  const { name, batch, size, classes, weight_decay: weightDecay } = file.case;
  const figures: Figure[] = [];
  for (const [s, step] of file.steps.slice(0, steps).entries()) {
    await writeActivation(session, 'images', [batch, 3, size, size], imageBatch(`${name}/x${s}`, batch, size));
    await session.write('input', 'targets', Array.from({ length: batch }, (_, i) => (3 * i + s) % classes));
    const control = { temperature: step.tau, learningRate: step.lr, weightDecay, step: s + 1 };
    for (const [slot, value] of Object.entries(control)) await session.write('control', slot, [value]);
    await session.run();

    const { loss, grad_norm: norm } = step.float32_deviation;
    const actualNorm = Math.sqrt((await session.read('output', 'squaredNorm'))[0]!);
    figures.push(
      { name: `step ${s} loss`, kind: 'value', expected: [step.loss], actual: await session.read('output', 'loss'), float32Deviation: loss },
      { name: `step ${s} gradient norm`, kind: 'gradient', expected: [step.grad_norm], actual: [actualNorm], float32Deviation: norm },
    );
    for (const [tensor, expected] of Object.entries(file.after[`${s + 1}`] ?? {})) {
      const { kind, declaration } = declarationOf(graph, tensor);
      const actual = await readLogical(session, kind, declaration);
      figures.push({ name: `after step ${s} ${tensor}`, kind: 'gradient', expected, actual, float32Deviation: expected.float32_deviation ?? 0 });
    }
  }
  session.close();
  return figures;
}
