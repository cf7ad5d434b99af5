/** Softmax and cross-entropy in one, with label smoothing; targets are class indices or soft targets. */
import type { Value } from '../graph.js';
import { defineOperation, elements, expectRank, expectShape, float32, required, shapeError, shapeOf } from '../operation.js';

interface CrossEntropyAttributes {
  readonly labelSmoothing: number;
}

const crossEntropyOperation = defineOperation<CrossEntropyAttributes>({
  name: 'cross_entropy',
  infer(inputs, { labelSmoothing }) {
    const logits = required('cross_entropy', inputs, 0, 'logits');
    const targets = required('cross_entropy', inputs, 1, 'targets');
    const [samples, classes] = expectRank('cross_entropy', 'logits', logits, 2, '[N, K]') as [number, number];
    expectShape('cross_entropy', 'targets', targets, targets.type === 'int32' ? [samples] : [samples, classes]);
    if (!(labelSmoothing >= 0 && labelSmoothing <= 1))
      throw shapeError('cross_entropy', `expected label smoothing in [0, 1] but received ${labelSmoothing}`);
    return [float32([]), float32([samples, classes])];
  },
  gradient: ({ inputs, outputs, attributes, outputGradients: [dloss] }) => [
    dloss && (dloss.graph.append(crossEntropyBackwardOperation, [dloss, outputs[1], inputs[1]], { ...attributes })[0] as Value),
  ],
  flops: ({ inputs }) => 5 * elements(shapeOf(inputs, 0)),
});

const crossEntropyBackwardOperation = defineOperation<CrossEntropyAttributes>({
  name: 'cross_entropy_backward',
  infer: (inputs) => [float32(required('cross_entropy_backward', inputs, 1, 'probabilities').shape)],
  flops: ({ outputs }) => 3 * elements(shapeOf(outputs, 0)),
  sharing: [{ output: 0, input: 1, kind: 'may' }],
});

/** Mean cross-entropy [] of logits [N, K] with targets (int32 [N] or float32 [N, K]), and the probabilities [N, K]. */
export function crossEntropy(logits: Value, targets: Value, labelSmoothing = 0): { loss: Value; probabilities: Value } {
  const [loss, probabilities] = logits.graph.append(crossEntropyOperation, [logits, targets], { labelSmoothing }) as [Value, Value];
  return { loss, probabilities };
}

export const crossEntropyOperations = [crossEntropyOperation, crossEntropyBackwardOperation];
