/**
 * Mixing and sample-wise convolution as one step, so that mixed weights exist only in a small scratch area. The pass `fuse_mixing` makes
 * these from mix_cells and samplewise_conv2d; models never append them.
 */
import type { Value } from '../graph.js';
import { defineOperation, elements, expectLike, expectRank, expectShape, float32, like, required, shapeOf } from '../operation.js';
import { type ConvolutionAttributes, convolutionFlops, convolutionSize, type Pair } from './convolution.js';
import { type CellsShape, checkMixing, type MixAttributes } from './mix_cells.js';

export interface MixedConvolutionAttributes extends ConvolutionAttributes {
  readonly outChannels: number;
  readonly kernel: Pair;
}

function mixAttributes(attributes: MixedConvolutionAttributes, inChannels: number): MixAttributes {
  return { outChannels: attributes.outChannels, inChannels: inChannels / attributes.groups, kernel: attributes.kernel };
}

/** The work of the convolution, and of mixing the weights once. */
function flopsOf(
  samples: number,
  positions: number,
  cells: CellsShape,
  attributes: MixedConvolutionAttributes,
  channels: number,
  mixings: number,
): number {
  const { outChannels, kernel, groups } = attributes;
  const weight = (outChannels * kernel[0] * kernel[1] * channels) / groups;
  return convolutionFlops(positions, outChannels, kernel, channels / groups) + mixings * 2 * cells[0] * weight * samples;
}

export const mixedConv2dOperation = defineOperation<MixedConvolutionAttributes>({
  name: 'mixed_conv2d',
  infer(inputs, attributes) {
    const x = required('mixed_conv2d', inputs, 0, 'x');
    const attention = required('mixed_conv2d', inputs, 1, 'attention');
    const cells = required('mixed_conv2d', inputs, 2, 'cells');
    const [n, h, w, c] = expectRank('mixed_conv2d', 'x', x, 4, '[N, H, W, C]') as [number, number, number, number];
    checkMixing('mixed_conv2d', attention, cells.shape as unknown as CellsShape, mixAttributes(attributes, c));
    if (inputs[3]) expectShape('mixed_conv2d', 'bias', inputs[3], [attributes.outChannels]);
    return [like(x, [n, ...convolutionSize('mixed_conv2d', [h, w], attributes.kernel, attributes), attributes.outChannels])];
  },
  flops: ({ inputs, outputs, attributes }) => {
    const [x, , cells] = inputs as [Value, Value, Value];
    const positions = elements(shapeOf(outputs, 0)) / attributes.outChannels;
    return flopsOf(x.shape[0] as number, positions, cells.shape as unknown as CellsShape, attributes, x.shape[3] as number, 1);
  },
  activations: { inputs: [0], outputs: [0], begins: true },
});

export const mixedConv2dBackwardInputOperation = defineOperation<
  MixedConvolutionAttributes & { readonly inputSize: Pair; readonly inChannels: number }
>({
  name: 'mixed_conv2d_backward_input',
  infer(inputs, { inputSize, inChannels, ...attributes }) {
    const dy = required('mixed_conv2d_backward_input', inputs, 0, 'dy');
    const attention = required('mixed_conv2d_backward_input', inputs, 1, 'attention');
    const cells = required('mixed_conv2d_backward_input', inputs, 2, 'cells');
    const samples = checkMixing(
      'mixed_conv2d_backward_input',
      attention,
      cells.shape as unknown as CellsShape,
      mixAttributes(attributes, inChannels),
    );
    expectRank('mixed_conv2d_backward_input', 'dy', dy, 4, '[N, OH, OW, O]');
    return [like(dy, [samples, ...inputSize, inChannels])];
  },
  flops: ({ inputs, attributes }) => {
    const [dy, , cells] = inputs as [Value, Value, Value];
    const positions = elements(dy.shape) / attributes.outChannels;
    return flopsOf(dy.shape[0] as number, positions, cells.shape as unknown as CellsShape, attributes, attributes.inChannels, 1);
  },
  activations: { inputs: [0], outputs: [0] },
});

export const mixedConv2dBackwardMixingOperation = defineOperation<MixedConvolutionAttributes>({
  name: 'mixed_conv2d_backward_mixing',
  infer(inputs, attributes) {
    const x = required('mixed_conv2d_backward_mixing', inputs, 0, 'x');
    const dy = required('mixed_conv2d_backward_mixing', inputs, 1, 'dy');
    expectLike('mixed_conv2d_backward_mixing', 'dy', dy, x, dy.shape);
    const attention = required('mixed_conv2d_backward_mixing', inputs, 2, 'attention');
    const cells = required('mixed_conv2d_backward_mixing', inputs, 3, 'cells');
    checkMixing(
      'mixed_conv2d_backward_mixing',
      attention,
      cells.shape as unknown as CellsShape,
      mixAttributes(attributes, x.shape[3] as number),
    );
    if (inputs[4]) expectShape('mixed_conv2d_backward_mixing', 'accumulator', inputs[4], cells.shape);
    return [float32(attention.shape), float32(cells.shape)];
  },
  flops: ({ inputs, attributes }) => {
    const [x, dy, , cells] = inputs as [Value, Value, Value, Value];
    const positions = elements(dy.shape) / attributes.outChannels;
    return flopsOf(x.shape[0] as number, positions, cells.shape as unknown as CellsShape, attributes, x.shape[3] as number, 2);
  },
  activations: { inputs: [0, 1], outputs: [] },
  sharing: [{ output: 1, input: 4, kind: 'must' }],
});

export const mixedConv2dOperations = [mixedConv2dOperation, mixedConv2dBackwardInputOperation, mixedConv2dBackwardMixingOperation];
