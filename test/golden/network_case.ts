/** network-*: a whole network's logits in evaluation mode; loss, logits and every gradient in training mode. */
import { gradients } from '../../lib/graph/autodiff.js';
import { Graph } from '../../lib/graph/graph.js';
import { assign, output } from '../../lib/graph/ops/copy.js';
import { crossEntropy } from '../../lib/graph/ops/cross_entropy.js';
import { fuseInference } from '../../lib/graph/passes/fuse_inference.js';
import { fuseTraining } from '../../lib/graph/passes/fuse_training.js';
import type { Model } from '../../lib/models/model.js';
import { imageBatch } from './fill.js';
import type { NetworkFile } from './format.js';
import { goldenModel } from './model.js';
import { imagesOf, type Machine, readActivation, readLogical, type Session, writeActivation } from './session.js';
import { checkStoredTensors, declarationOf, fillStoredTensors } from './stored_tensors.js';
import type { Figure } from './tolerance.js';

function images(graph: Graph, { batch, size }: NetworkFile['case']) {
  return graph.input('images', [batch, size, size, 3]);
}

function evaluationGraph(file: NetworkFile, model: Model): Graph {
  const graph = new Graph();
  output('logits', model.forward(graph, images(graph, file.case), false));
  return fuseInference(graph);
}

/** Also returns the parameters that the loss does not depend on. */
function trainingGraph(file: NetworkFile, model: Model): { graph: Graph; unused: string[] } {
  const graph = new Graph();
  const x = images(graph, file.case);
  const logits = model.forward(graph, x, true);
  const { loss } = crossEntropy(logits, graph.input('targets', [file.case.batch], 'int32'));
  const parameters = [...graph.parameters.values()].map(({ name, shape, ...options }) => ({
    name,
    value: graph.parameter(name, shape, options),
  }));
  const [dx, ...derived] = gradients([{ value: loss }], [x, ...parameters.map(({ value }) => value)]);
  output('logits', logits);
  output('loss', loss);
  output('dx', dx!);
  derived.forEach((gradient, i) => gradient && assign(graph.gradientOf(parameters[i]!.value), gradient));
  return { graph: fuseTraining(graph), unused: parameters.filter((_, i) => !derived[i]).map(({ name }) => name) };
}

function modelFigures(file: NetworkFile, model: Model): Figure[] {
  const figures: Figure[] = [{ name: 'parameter count', kind: 'value', expected: [file.parameters], actual: [model.parameters.count] }];
  const warehouses = file.warehouses ?? [];
  const actual = model.allocation?.warehouses ?? [];
  figures.push({ name: 'warehouse count', kind: 'value', expected: [warehouses.length], actual: [actual.length] });
  warehouses.forEach(({ name, n, cell }, i) => {
    figures.push({
      name: `warehouse ${name}`,
      kind: 'value',
      expected: [n, ...cell],
      actual: [actual[i]?.n ?? 0, ...(actual[i]?.cell ?? [])],
    });
  });
  const layers = new Map(actual.flatMap((warehouse) => warehouse.layers.map((layer) => [layer.name, layer] as const)));
  if (file.starts) figures.push({ name: 'dynamic layers', kind: 'value', expected: [file.starts.length], actual: [layers.size] });
  for (const { name, warehouse, start: cell } of file.starts ?? []) {
    const layer = layers.get(name);
    figures.push({
      name: `place of ${name}`,
      kind: 'value',
      expected: [warehouse, cell],
      actual: [layer?.warehouse ?? -1, layer?.startCell ?? -1],
    });
  }
  return figures;
}

async function start(file: NetworkFile, graph: Graph, machine: Machine, mode: string): Promise<Session> {
  checkStoredTensors(graph, file.params);
  const session = await machine.prepare(graph, `${file.case.name} ${mode}`);
  await fillStoredTensors(session, graph, file.params);
  const { name, batch, size, tau = 0, temperature = 1 } = file.case;
  await writeActivation(session, 'images', imagesOf([batch, 3, size, size]), imageBatch(`${name}/x`, batch, size));
  await session.write('control', 'temperature', [tau]);
  await session.write('control', 'softmaxTemperature', [temperature]);
  return session;
}

async function evaluationFigures(file: NetworkFile, model: Model, machine: Machine): Promise<Figure[]> {
  const session = await start(file, evaluationGraph(file, model), machine, 'eval');
  await session.run();
  const actual = await session.read('output', 'logits');
  session.close();
  return [{ name: 'eval logits', kind: 'value', expected: file.eval.logits.flat(), actual, float32Deviation: file.eval.float32_deviation }];
}

async function trainingFigures(file: NetworkFile, model: Model, machine: Machine): Promise<Figure[]> {
  const { train } = file;
  const { graph, unused } = trainingGraph(file, model);
  if (`${unused.toSorted()}` !== `${train.unused.toSorted()}`)
    throw new Error(`the loss does not depend on [${unused}], the case says [${train.unused}]`);
  const session = await start(file, graph, machine, 'train');
  await session.write('input', 'targets', train.targets);
  await session.run();
  const forward = { kind: 'value', float32Deviation: train.float32_deviation } as const;
  const figures: Figure[] = [
    { name: 'train loss', ...forward, expected: [train.loss], actual: await session.read('output', 'loss') },
    { name: 'train logits', ...forward, expected: train.logits.flat(), actual: await session.read('output', 'logits') },
  ];
  const largestGradient = Math.max(train.dx.l2, ...Object.values(train.grads).map((digest) => digest.l2));
  const gradientOf = (name: string, expected: NetworkFile['train']['dx'], actual: Float64Array): Figure => {
    return { name, kind: 'gradient', expected, actual, float32Deviation: expected.float32_deviation ?? 0, largestGradient };
  };
  figures.push(gradientOf('dx', train.dx, await readActivation(session, 'dx', imagesOf(train.dx.shape))));
  for (const [name, expected] of Object.entries(train.grads)) {
    const actual = await readLogical(session, 'gradient', declarationOf(graph, name).declaration);
    figures.push(gradientOf(`gradient of ${name}`, expected, actual));
  }
  session.close();
  return figures;
}

/** Every figure of the case as computed on `machine`. */
export async function runNetworkCase(file: NetworkFile, machine: Machine, model = goldenModel(file.case)): Promise<Figure[]> {
  return [
    ...modelFigures(file, model),
    ...(await evaluationFigures(file, model, machine)),
    ...(await trainingFigures(file, model, machine)),
  ];
}
