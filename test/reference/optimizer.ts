/** Optimizer steps over flat arenas, in place. Weight decay applies to the first `decayed` elements. */
import type { Arguments } from './operation.js';
import type { Tensor } from './tensor.js';

export function sgd(args: Arguments): Tensor[] {
  const [parameters, gradients, momentumBuffer] = [args.input(0).data, args.input(1).data, args.input(2).data];
  const [learningRate, weightDecay] = [args.scalar(3), args.scalar(4)];
  const momentum = args.number('momentum');
  for (let i = 0; i < parameters.length; i++) {
    const gradient = gradients[i]! + (i < args.number('decayed') ? weightDecay * parameters[i]! : 0);
    const velocity = momentum * momentumBuffer[i]! + gradient;
    momentumBuffer[i] = velocity;
    parameters[i]! -= learningRate * (args.boolean('nesterov') ? gradient + momentum * velocity : velocity);
  }
  return [];
}

export function adamw(args: Arguments): Tensor[] {
  const [parameters, gradients, firstMoment, secondMoment] = [
    args.input(0).data,
    args.input(1).data,
    args.input(2).data,
    args.input(3).data,
  ];
  const [learningRate, weightDecay, step] = [args.scalar(4), args.scalar(5), args.scalar(6)];
  const [beta1, beta2, epsilon] = [args.number('beta1'), args.number('beta2'), args.number('epsilon')];
  for (let i = 0; i < parameters.length; i++) {
    if (i < args.number('decayed')) parameters[i]! *= 1 - learningRate * weightDecay;
    const gradient = gradients[i]!;
    firstMoment[i] = beta1 * firstMoment[i]! + (1 - beta1) * gradient;
    secondMoment[i] = beta2 * secondMoment[i]! + (1 - beta2) * gradient * gradient;
    const denominator = Math.sqrt(secondMoment[i]!) / Math.sqrt(1 - beta2 ** step) + epsilon;
    parameters[i]! -= (learningRate / (1 - beta1 ** step)) * (firstMoment[i]! / denominator);
  }
  return [];
}
