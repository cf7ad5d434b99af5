/** One training step as a plan: forward, loss, gradients, running statistics, optimizer. */
import { gradients } from '../graph/autodiff.js';
import { Graph, type Value } from '../graph/graph.js';
import { assign, output } from '../graph/ops/copy.js';
import { crossEntropy } from '../graph/ops/cross_entropy.js';
import { adamw, sgd } from '../graph/ops/optimizers.js';
import { sumOfSquares } from '../graph/ops/sum_of_squares.js';
import { fuseTraining } from '../graph/passes/fuse_training.js';
import { lower } from '../graph/passes/lower.js';
import { inPrecision, type Precision } from '../graph/passes/precision.js';
import type { Plan } from '../plan/plan.js';
import type { Model } from './model.js';

export type OptimizerOptions =
  | { readonly kind: 'sgd'; readonly momentum: number; readonly nesterov: boolean }
  | { readonly kind: 'adamw'; readonly beta1: number; readonly beta2: number; readonly epsilon: number };

export interface TrainingPlanOptions {
  readonly batch: number;
  readonly imageSize: number;
  readonly optimizer: OptimizerOptions;
  readonly labelSmoothing: number;
  /**
   * The type of the activations between layers and of their gradients; default float32. Everything that is stored is float32 in either
   * case.
   */
  readonly precision?: Precision;
}

/** The arenas that an optimizer keeps between steps, each with the shape of the parameters. */
export function optimizerArenas(optimizer: OptimizerOptions): readonly string[] {
  return optimizer.kind === 'sgd' ? ['momentum'] : ['firstMoment', 'secondMoment'];
}

/**
 * The graph of a step. Inputs: `images` [batch, size, size, 3], `targets`. Outputs: `loss` [], `logits`, `gradientSquares` [] (the
 * square of the gradients' norm). Reads learningRate, weightDecay, temperature, step and seed from the control block.
 */
export function trainingGraph(model: Model, { batch, imageSize, optimizer, labelSmoothing }: TrainingPlanOptions): Graph {
  const graph = new Graph();
  const logits = model.forward(graph, graph.input('images', [batch, imageSize, imageSize, 3]), true);
  const targets = graph.input('targets', [batch], 'int32');
  const { loss } = graph.labelled('loss', () => crossEntropy(logits, targets, labelSmoothing));
  output('loss', loss);
  output('logits', logits);

  const parameters = [...graph.parameters.values()].map((declaration) => graph.parameter(declaration.name, declaration.shape, declaration));
  gradients([{ value: loss }], parameters).forEach((gradient, index) => {
    if (gradient) assign(graph.gradientOf(parameters[index] as Value), gradient);
  });

  const { size, decayed } = model.parameters;
  const arena = (name: string) => graph.arena(name, size);
  output(
    'gradientSquares',
    graph.labelled('gradient norm', () => sumOfSquares(arena('gradients'))),
  );
  if (optimizer.kind === 'sgd') {
    sgd(arena('parameters'), arena('gradients'), arena('momentum'), {
      momentum: optimizer.momentum,
      nesterov: optimizer.nesterov,
      decayed,
    });
  } else {
    const { beta1, beta2, epsilon } = optimizer;
    adamw(arena('parameters'), arena('gradients'), arena('firstMoment'), arena('secondMoment'), { beta1, beta2, epsilon, decayed });
  }
  return graph;
}

export function trainingPlan(model: Model, options: TrainingPlanOptions): Plan {
  const name = `${model.network} training ${options.batch}x${options.imageSize}`;
  const graph = inPrecision(fuseTraining(trainingGraph(model, options)), options.precision ?? 'float32');
  return lower(graph, { name, parameters: model.parameters, states: model.states });
}
