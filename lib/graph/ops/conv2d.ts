/** Static convolution: one weight for all samples. */
import type { Value } from '../graph.js';
import { defineOperation, elements, expectRank, expectShape, float32, required, shapeOf } from '../operation.js';
import {
  type ConvolutionAttributes,
  type ConvolutionOptions,
  checkGroups,
  convolutionAttributes,
  convolutionFlops,
  convolutionSize,
  type Pair,
} from './convolution.js';
import { sumRows } from './sum_rows.js';

const conv2dOperation = defineOperation<ConvolutionAttributes>({
  name: 'conv2d',
  infer(inputs, attributes) {
    const x = required('conv2d', inputs, 0, 'x');
    const weight = required('conv2d', inputs, 1, 'weight');
    const [n, h, w, c] = expectRank('conv2d', 'x', x, 4, '[N, H, W, C]') as [number, number, number, number];
    const [o, kh, kw, i] = expectRank('conv2d', 'weight', weight, 4, '[O, kh, kw, C/groups]') as [number, number, number, number];
    checkGroups('conv2d', c, o, i, attributes.groups);
    if (inputs[2]) expectShape('conv2d', 'bias', inputs[2], [o]);
    return [float32([n, ...convolutionSize('conv2d', [h, w], [kh, kw], attributes), o])];
  },
  gradient({ inputs, attributes, outputGradients, wanted }) {
    const [x, weight] = inputs as [Value, Value];
    const dy = outputGradients[0];
    if (!dy) return [];
    return [
      wanted[0] ? conv2dBackwardInput(dy, weight, attributes, [x.shape[1] as number, x.shape[2] as number]) : undefined,
      wanted[1] ? conv2dBackwardWeight(x, dy, attributes, [weight.shape[1] as number, weight.shape[2] as number]) : undefined,
      wanted[2] ? sumRows(dy) : undefined,
    ];
  },
  flops: ({ inputs, outputs }) => {
    const [o, kh, kw, i] = shapeOf(inputs, 1) as [number, number, number, number];
    return convolutionFlops(elements(shapeOf(outputs, 0)) / o, o, [kh, kw], i);
  },
});

const conv2dBackwardInputOperation = defineOperation<ConvolutionAttributes & { readonly inputSize: Pair }>({
  name: 'conv2d_backward_input',
  infer(inputs, { inputSize, groups }) {
    const dy = required('conv2d_backward_input', inputs, 0, 'dy');
    const weight = required('conv2d_backward_input', inputs, 1, 'weight');
    return [float32([dy.shape[0] as number, ...inputSize, (weight.shape[3] as number) * groups])];
  },
  flops: ({ inputs }) => {
    const [o, kh, kw, i] = shapeOf(inputs, 1) as [number, number, number, number];
    return convolutionFlops(elements(shapeOf(inputs, 0)) / o, o, [kh, kw], i);
  },
});

const conv2dBackwardWeightOperation = defineOperation<ConvolutionAttributes & { readonly kernel: Pair }>({
  name: 'conv2d_backward_weight',
  infer(inputs, { kernel, groups }) {
    const x = required('conv2d_backward_weight', inputs, 0, 'x');
    const dy = required('conv2d_backward_weight', inputs, 1, 'dy');
    return [float32([dy.shape[3] as number, ...kernel, (x.shape[3] as number) / groups])];
  },
  flops: ({ inputs, outputs }) => {
    const [o, kh, kw, i] = shapeOf(outputs, 0) as [number, number, number, number];
    return convolutionFlops(elements(shapeOf(inputs, 1)) / o, o, [kh, kw], i);
  },
});

function conv2dBackwardInput(dy: Value, weight: Value, attributes: ConvolutionAttributes, inputSize: Pair): Value {
  return dy.graph.append(conv2dBackwardInputOperation, [dy, weight], { ...attributes, inputSize })[0] as Value;
}

function conv2dBackwardWeight(x: Value, dy: Value, attributes: ConvolutionAttributes, kernel: Pair): Value {
  return dy.graph.append(conv2dBackwardWeightOperation, [x, dy], { ...attributes, kernel })[0] as Value;
}

/** Convolution of x [N,H,W,C] with weight [O,kh,kw,C/groups] and an optional bias [O]: [N,OH,OW,O]. */
export function conv2d(x: Value, weight: Value, bias?: Value, options: ConvolutionOptions = {}): Value {
  return x.graph.append(conv2dOperation, [x, weight, bias], convolutionAttributes(options) as never)[0] as Value;
}

export const conv2dOperations = [conv2dOperation, conv2dBackwardInputOperation, conv2dBackwardWeightOperation];
