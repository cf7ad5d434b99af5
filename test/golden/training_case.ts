/** training-*: a few optimizer steps from given values, on other images and targets in each. */
import { fuseTraining } from '../../lib/graph/passes/fuse_training.js';
import { type OptimizerOptions, trainingGraph } from '../../lib/models/training_plan.js';
import { imageBatch } from './fill.js';
import type { TrainingFile } from './format.js';
import { goldenModel } from './model.js';
import { NotRunnable } from './not_runnable.js';
import { imagesOf, type Machine, readLogical, writeActivation } from './session.js';
import { checkStoredTensors, declarationOf, fillStoredTensors } from './stored_tensors.js';
import type { Figure } from './tolerance.js';

function optimizerOf({ optimizer, nesterov = false, eps = 1e-8 }: TrainingFile['case']): OptimizerOptions {
  if (optimizer === 'sgd') return { kind: 'sgd', momentum: 0.9, nesterov };
  if (optimizer === 'adamw') return { kind: 'adamw', beta1: 0.9, beta2: 0.999, epsilon: eps };
  throw new NotRunnable(`no optimizer '${String(optimizer)}'`);
}

/** Every figure of the first `steps` steps as computed on `machine`; all steps when absent. */
export async function runTrainingCase(file: TrainingFile, machine: Machine, steps = file.steps.length): Promise<Figure[]> {
  const model = goldenModel(file.case);
  const { batch, size, smoothing = 0 } = file.case;
  const options = { batch, imageSize: size, optimizer: optimizerOf(file.case), labelSmoothing: smoothing };
  const graph = fuseTraining(trainingGraph(model, options));
  checkStoredTensors(graph, file.params);
  const session = await machine.prepare(graph, file.case.name);
  await fillStoredTensors(session, graph, file.params);
  const { name, classes, weight_decay: weightDecay } = file.case;
  const figures: Figure[] = [];
  for (const [s, step] of file.steps.slice(0, steps).entries()) {
    await writeActivation(session, 'images', imagesOf([batch, 3, size, size]), imageBatch(`${name}/x${s}`, batch, size));
    await session.write(
      'input',
      'targets',
      Array.from({ length: batch }, (_, i) => (3 * i + s) % classes),
    );
    const control = { temperature: step.tau, learningRate: step.lr, weightDecay, step: s + 1 };
    for (const [slot, value] of Object.entries(control)) await session.write('control', slot, [value]);
    await session.run();

    const { loss, grad_norm: norm } = step.float32_deviation;
    const actualNorm = Math.sqrt((await session.read('output', 'gradientSquares'))[0]!);
    figures.push(
      {
        name: `step ${s} loss`,
        kind: 'value',
        expected: [step.loss],
        actual: await session.read('output', 'loss'),
        float32Deviation: loss,
      },
      { name: `step ${s} gradient norm`, kind: 'gradient', expected: [step.grad_norm], actual: [actualNorm], float32Deviation: norm },
    );
    for (const [tensor, expected] of Object.entries(file.after[`${s + 1}`] ?? {})) {
      const { kind, declaration } = declarationOf(graph, tensor);
      const actual = await readLogical(session, kind, declaration);
      figures.push({
        name: `after step ${s} ${tensor}`,
        kind: 'gradient',
        expected,
        actual,
        float32Deviation: expected.float32_deviation ?? 0,
      });
    }
  }
  session.close();
  return figures;
}
