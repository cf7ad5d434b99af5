/** Convolution in which every sample of the batch has a weight of its own. */
import type { Value } from '../graph.js';
import { defineOperation, elements, expectRank, expectShape, float32, required, shapeError, shapeOf } from '../operation.js';
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

type WeightShape = [samples: number, o: number, kh: number, kw: number, i: number];

export const samplewiseConv2dOperation = defineOperation<ConvolutionAttributes>({
  name: 'samplewise_conv2d',
  infer(inputs, attributes) {
    const x = required('samplewise_conv2d', inputs, 0, 'x');
    const weight = required('samplewise_conv2d', inputs, 1, 'weight');
    const [n, h, w, c] = expectRank('samplewise_conv2d', 'x', x, 4, '[N, H, W, C]') as [number, number, number, number];
    const [samples, o, kh, kw, i] = expectRank('samplewise_conv2d', 'weight', weight, 5, '[N, O, kh, kw, C/groups]') as WeightShape;
    if (samples !== n) throw shapeError('samplewise_conv2d', `expected a weight for each of ${n} samples but received ${samples}`);
    checkGroups('samplewise_conv2d', c, o, i, attributes.groups);
    if (inputs[2]) expectShape('samplewise_conv2d', 'bias', inputs[2], [o]);
    return [float32([n, ...convolutionSize('samplewise_conv2d', [h, w], [kh, kw], attributes), o])];
  },
  gradient({ inputs, attributes, outputGradients, wanted }) {
    const [x, weight] = inputs as [Value, Value];
    const dy = outputGradients[0];
    if (!dy) return [];
    const { graph } = dy;
    const inputSize = x.shape.slice(1, 3);
    const kernel = weight.shape.slice(2, 4);
    return [
      wanted[0] ? graph.append(samplewiseConv2dBackwardInputOperation, [dy, weight], { ...attributes, inputSize })[0] : undefined,
      wanted[1] ? graph.append(samplewiseConv2dBackwardWeightOperation, [x, dy], { ...attributes, kernel })[0] : undefined,
      wanted[2] ? sumRows(dy) : undefined,
    ];
  },
  flops: ({ inputs, outputs }) => {
    const [, o, kh, kw, i] = shapeOf(inputs, 1) as WeightShape;
    return convolutionFlops(elements(shapeOf(outputs, 0)) / o, o, [kh, kw], i);
  },
});

export const samplewiseConv2dBackwardInputOperation = defineOperation<ConvolutionAttributes & { readonly inputSize: Pair }>({
  name: 'samplewise_conv2d_backward_input',
  infer(inputs, { inputSize, groups }) {
    const dy = required('samplewise_conv2d_backward_input', inputs, 0, 'dy');
    const weight = required('samplewise_conv2d_backward_input', inputs, 1, 'weight');
    return [float32([dy.shape[0] as number, ...inputSize, (weight.shape[4] as number) * groups])];
  },
  flops: ({ inputs }) => {
    const [, o, kh, kw, i] = shapeOf(inputs, 1) as WeightShape;
    return convolutionFlops(elements(shapeOf(inputs, 0)) / o, o, [kh, kw], i);
  },
});

export const samplewiseConv2dBackwardWeightOperation = defineOperation<ConvolutionAttributes & { readonly kernel: Pair }>({
  name: 'samplewise_conv2d_backward_weight',
  infer(inputs, { kernel, groups }) {
    const x = required('samplewise_conv2d_backward_weight', inputs, 0, 'x');
    const dy = required('samplewise_conv2d_backward_weight', inputs, 1, 'dy');
    return [float32([x.shape[0] as number, dy.shape[3] as number, ...kernel, (x.shape[3] as number) / groups])];
  },
  flops: ({ inputs, outputs }) => {
    const [, o, kh, kw, i] = shapeOf(outputs, 0) as WeightShape;
    return convolutionFlops(elements(shapeOf(inputs, 1)) / o, o, [kh, kw], i);
  },
});

/** Convolution of sample b of x [N,H,W,C] with weight b of [N,O,kh,kw,C/groups]; optional bias [O] shared by all: [N,OH,OW,O]. */
export function samplewiseConv2d(x: Value, weight: Value, bias?: Value, options: ConvolutionOptions = {}): Value {
  return x.graph.append(samplewiseConv2dOperation, [x, weight, bias], convolutionAttributes(options) as never)[0] as Value;
}

export const samplewiseConv2dOperations = [
  samplewiseConv2dOperation,
  samplewiseConv2dBackwardInputOperation,
  samplewiseConv2dBackwardWeightOperation,
];
