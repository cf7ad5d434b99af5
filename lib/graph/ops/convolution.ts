/** What all convolutions have in common: attributes, shape rules, and the three ops of each kind, over two or three spatial dimensions. */
import type { Value } from '../graph.js';
import {
  channels,
  defineOperation,
  elements,
  expectLike,
  expectRank,
  expectShape,
  float32,
  like,
  type Operation,
  required,
  shapeError,
  shapeOf,
} from '../operation.js';
import { sumRows } from './add_bias.js';

export type Pair = readonly [number, number];

/** One number for each spatial dimension: (depth,) height, width. */
export type Sizes = readonly number[];

export interface ConvolutionAttributes {
  readonly stride: Sizes;
  readonly padding: Sizes;
  readonly dilation: Sizes;
  readonly groups: number;
}

/** A number stands for every spatial dimension. */
export interface ConvolutionOptions {
  /** Default 1. */
  readonly stride?: number | Sizes;
  /** Zeros on each side. Default 0. */
  readonly padding?: number | Sizes;
  /** Default 1. */
  readonly dilation?: number | Sizes;
  /** Default 1. */
  readonly groups?: number;
}

function convolutionAttributes(op: string, dimensions: number, options: ConvolutionOptions): ConvolutionAttributes {
  const sizes = (field: 'stride' | 'padding' | 'dilation', otherwise: number): Sizes => {
    const value = options[field] ?? otherwise;
    if (typeof value === 'number') return new Array<number>(dimensions).fill(value);
    if (value.length === dimensions) return value;
    throw shapeError(op, `expected ${field} to be a number or a list of ${dimensions} but received [${value.join(', ')}]`);
  };
  return { stride: sizes('stride', 1), padding: sizes('padding', 0), dilation: sizes('dilation', 1), groups: options.groups ?? 1 };
}

/** Spatial sizes of the output. */
export function convolutionSize(op: string, input: Sizes, kernel: Sizes, { stride, padding, dilation }: ConvolutionAttributes): Sizes {
  return input.map((size, axis) => {
    const span = (dilation[axis] as number) * ((kernel[axis] as number) - 1) + 1;
    const output = Math.floor((size + 2 * (padding[axis] as number) - span) / (stride[axis] as number)) + 1;
    if (!(output >= 1)) {
      throw shapeError(
        op,
        `a kernel of ${kernel.join('x')} (dilation ${dilation.join('x')}) does not fit an input of ${input.join('x')} ` +
          `with padding ${padding.join('x')}`,
      );
    }
    return output;
  });
}

/** Throws unless channels divide into groups and the weight's input channels fit. */
function checkGroups(op: string, inChannels: number, outChannels: number, weightChannels: number, groups: number): void {
  if (inChannels % groups !== 0 || outChannels % groups !== 0) {
    throw shapeError(op, `${inChannels} input and ${outChannels} output channels do not divide into ${groups} groups`);
  }
  if (weightChannels * groups !== inChannels) {
    throw shapeError(op, `expected a weight with ${inChannels / groups} input channels per group but received ${weightChannels}`);
  }
}

/** Multiply-adds counted as two, for `positions` outputs of `outChannels` each. */
export function convolutionFlops(positions: number, outChannels: number, kernel: Sizes, channelsPerGroup: number): number {
  return 2 * positions * outChannels * elements(kernel) * channelsPerGroup;
}

export interface Convolution {
  /** The forward op and its gradients: `name`, `name_backward_input`, `name_backward_weight`. */
  readonly operations: readonly [Operation, Operation, Operation];
  readonly append: (x: Value, weight: Value, bias: Value | undefined, options: ConvolutionOptions) => Value;
}

/**
 * The ops of one kind of convolution: x [N, ...sizes, C] with a weight [O, ...kernel, C/groups] or, `samplewise`, one for each sample,
 * [N, O, ...kernel, C/groups]; optional bias [O].
 */
export function defineConvolution(name: string, dimensions: 2 | 3, samplewise: boolean): Convolution {
  const [sizeNames, kernelNames] = dimensions === 2 ? ['H, W', 'kh, kw'] : ['D, H, W', 'kd, kh, kw'];
  const weightMeaning = `[${samplewise ? 'N, ' : ''}O, ${kernelNames}, C/groups]`;
  const rank = dimensions + 2;
  const spatial = (x: Value): Sizes => x.shape.slice(1, -1);
  /** Output channels, kernel and input channels per group of a weight's shape. */
  const partsOf = (weight: readonly number[]) => {
    const [outChannels, ...rest] = samplewise ? weight.slice(1) : weight;
    return { outChannels: outChannels as number, kernel: rest.slice(0, -1), inChannels: rest.at(-1) as number };
  };
  const flopsOf = (weight: readonly number[], y: readonly number[]): number => {
    const { outChannels, kernel, inChannels } = partsOf(weight);
    return convolutionFlops(elements(y) / outChannels, outChannels, kernel, inChannels);
  };

  const backwardInputName = `${name}_backward_input`;
  const backwardInput = defineOperation<ConvolutionAttributes & { readonly inputSize: Sizes }>({
    name: backwardInputName,
    infer(inputs, { inputSize, groups }) {
      const dy = required(backwardInputName, inputs, 0, 'dy');
      const weight = required(backwardInputName, inputs, 1, 'weight');
      return [like(dy, [dy.shape[0] as number, ...inputSize, channels(weight) * groups])];
    },
    flops: ({ inputs }) => flopsOf(shapeOf(inputs, 1), shapeOf(inputs, 0)),
    activations: { inputs: [0], outputs: [0] },
  });

  const backwardWeightName = `${name}_backward_weight`;
  const backwardWeight = defineOperation<ConvolutionAttributes & { readonly kernel: Sizes }>({
    name: backwardWeightName,
    infer(inputs, { kernel, groups }) {
      const x = required(backwardWeightName, inputs, 0, 'x');
      const dy = required(backwardWeightName, inputs, 1, 'dy');
      expectLike(backwardWeightName, 'dy', dy, x, dy.shape);
      const samples = samplewise ? [x.shape[0] as number] : [];
      return [float32([...samples, channels(dy), ...kernel, channels(x) / groups])];
    },
    flops: ({ inputs, outputs }) => flopsOf(shapeOf(outputs, 0), shapeOf(inputs, 1)),
    activations: { inputs: [0, 1], outputs: [] },
  });

  const forward = defineOperation<ConvolutionAttributes>({
    name,
    infer(inputs, attributes) {
      const x = required(name, inputs, 0, 'x');
      const weight = required(name, inputs, 1, 'weight');
      const samples = expectRank(name, 'x', x, rank, `[N, ${sizeNames}, C]`)[0] as number;
      const weightShape = expectRank(name, 'weight', weight, samplewise ? rank + 1 : rank, weightMeaning);
      if (samplewise && weightShape[0] !== samples) {
        throw shapeError(name, `expected a weight for each of ${samples} samples but received ${weightShape[0]}`);
      }
      const { outChannels, kernel, inChannels } = partsOf(weightShape);
      checkGroups(name, channels(x), outChannels, inChannels, attributes.groups);
      if (inputs[2]) expectShape(name, 'bias', inputs[2], [outChannels]);
      return [like(x, [samples, ...convolutionSize(name, spatial(x), kernel, attributes), outChannels])];
    },
    gradient({ inputs, attributes, outputGradients, wanted }) {
      const [x, weight] = inputs as [Value, Value];
      const dy = outputGradients[0];
      if (!dy) return [];
      const { graph } = dy;
      const { kernel } = partsOf(weight.shape);
      return [
        wanted[0] ? graph.append(backwardInput, [dy, weight], { ...attributes, inputSize: spatial(x) })[0] : undefined,
        wanted[1] ? graph.append(backwardWeight, [x, dy], { ...attributes, kernel })[0] : undefined,
        wanted[2] ? sumRows(dy) : undefined,
      ];
    },
    flops: ({ inputs, outputs }) => flopsOf(shapeOf(inputs, 1), shapeOf(outputs, 0)),
    activations: { inputs: [0], outputs: [0], begins: true },
  });

  return {
    operations: [forward, backwardInput, backwardWeight],
    append: (x, weight, bias, options) =>
      x.graph.append(forward, [x, weight, bias], { ...convolutionAttributes(name, dimensions, options) })[0] as Value,
  };
}
