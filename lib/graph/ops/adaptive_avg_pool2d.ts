/**
 * Mean over a grid of windows that cover the image, whatever its size. Window i of n goes from floor(i H / n) to ceil((i + 1) H / n), as in
 * PyTorch's AdaptiveAvgPool2d. Windows overlap if n does not divide H, and repeat if the image is smaller than the grid.
 */
import type { DataType } from '../../plan/plan.js';
import type { Value } from '../graph.js';
import { channels, defineOperation, elements, expectRank, float32, required, shapeError, shapeOf } from '../operation.js';
import type { Pair } from './convolution.js';

const adaptiveAvgPool2dOperation = defineOperation<{ readonly size: Pair }>({
  name: 'adaptive_avg_pool2d',
  infer(inputs, { size }) {
    const x = required('adaptive_avg_pool2d', inputs, 0, 'x');
    const [samples] = expectRank('adaptive_avg_pool2d', 'x', x, 4, '[N, H, W, C]') as [number];
    if (size.length !== 2 || size.some((count) => !Number.isSafeInteger(count) || count < 1)) {
      throw shapeError('adaptive_avg_pool2d', `expected size of two positive whole numbers but received [${size.join(', ')}]`);
    }
    return [float32([samples, ...size, channels(x)])];
  },
  gradient: ({ inputs, outputGradients: [dy] }) => {
    const { shape, type } = inputs[0] as Value;
    return [dy && (dy.graph.append(adaptiveAvgPool2dBackwardOperation, [dy], { inputSize: shape.slice(1, 3), type })[0] as Value)];
  },
  flops: ({ inputs }) => elements(shapeOf(inputs, 0)),
  activations: { inputs: [0], outputs: [] },
});

const adaptiveAvgPool2dBackwardOperation = defineOperation<{ readonly inputSize: Pair; readonly type: DataType }>({
  name: 'adaptive_avg_pool2d_backward',
  infer(inputs, { inputSize, type }) {
    const dy = required('adaptive_avg_pool2d_backward', inputs, 0, 'dy');
    const [samples] = expectRank('adaptive_avg_pool2d_backward', 'dy', dy, 4, '[N, OH, OW, C]') as [number];
    return [{ type, shape: [samples, ...inputSize, channels(dy)] }];
  },
  flops: ({ outputs }) => elements(shapeOf(outputs, 0)),
  activations: { inputs: [], outputs: [0], begins: true },
});

/** x [N, H, W, C] averaged over a grid of so many rows and columns of windows: [N, rows, columns, C]. */
export function adaptiveAvgPool2d(x: Value, size: Pair): Value {
  return x.graph.append(adaptiveAvgPool2dOperation, [x], { size })[0] as Value;
}

export const adaptiveAvgPool2dOperations = [adaptiveAvgPool2dOperation, adaptiveAvgPool2dBackwardOperation];
