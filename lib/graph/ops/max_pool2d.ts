/** Maximum over windows; padding never wins. */
import type { Value } from '../graph.js';
import { defineOperation, elements, expectRank, like, required, shapeError, shapeOf } from '../operation.js';
import { convolutionSize, type Pair } from './convolution.js';

export interface PoolAttributes {
  readonly kernel: Pair;
  readonly stride: Pair;
  readonly padding: Pair;
}

const maxPool2dOperation = defineOperation<PoolAttributes>({
  name: 'max_pool2d',
  infer(inputs, { kernel, stride, padding }) {
    const [n, h, w, c] = expectRank('max_pool2d', 'x', required('max_pool2d', inputs, 0, 'x'), 4, '[N, H, W, C]') as [
      number,
      number,
      number,
      number,
    ];
    if (2 * padding[0] > kernel[0] || 2 * padding[1] > kernel[1]) {
      throw shapeError('max_pool2d', `padding ${padding.join('x')} is more than half the kernel ${kernel.join('x')}`);
    }
    const shape = [n, ...convolutionSize('max_pool2d', [h, w], kernel, { stride, padding, dilation: [1, 1], groups: 1 }), c];
    return [like(inputs[0] as Value, shape), { type: 'int32', shape }];
  },
  gradient: ({ inputs, outputs, outputGradients: [dy] }) => {
    const [x] = inputs as [Value];
    return [dy && (dy.graph.append(maxPool2dBackwardOperation, [dy, outputs[1]], { inputSize: x.shape.slice(1, 3) })[0] as Value)];
  },
  flops: ({ outputs, attributes: { kernel } }) => elements(shapeOf(outputs, 0)) * kernel[0] * kernel[1],
  activations: { inputs: [0], outputs: [0] },
});

const maxPool2dBackwardOperation = defineOperation<{ readonly inputSize: Pair }>({
  name: 'max_pool2d_backward',
  infer(inputs, { inputSize }) {
    const dy = required('max_pool2d_backward', inputs, 0, 'dy');
    return [like(dy, [dy.shape[0] as number, ...inputSize, dy.shape[3] as number])];
  },
  flops: ({ inputs }) => elements(shapeOf(inputs, 0)),
  activations: { inputs: [0], outputs: [0] },
});

/** x [N,H,W,C]: [N,OH,OW,C]. A number stands for both dimensions. */
export function maxPool2d(x: Value, kernel: number | Pair, stride: number | Pair, padding: number | Pair): Value {
  const pair = (size: number | Pair): Pair => (typeof size === 'number' ? [size, size] : size);
  const attributes = { kernel: pair(kernel), stride: pair(stride), padding: pair(padding) };
  return x.graph.append(maxPool2dOperation, [x], attributes)[0] as Value;
}

export const maxPool2dOperations = [maxPool2dOperation, maxPool2dBackwardOperation];
