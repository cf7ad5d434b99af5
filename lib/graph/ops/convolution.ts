/** Attributes and shape rules that all two-dimensional convolutions share. */
import { shapeError } from '../operation.js';

export type Pair = readonly [number, number];

export interface ConvolutionAttributes {
  readonly stride: Pair;
  readonly padding: Pair;
  readonly dilation: Pair;
  readonly groups: number;
}

export interface ConvolutionOptions {
  /** Default 1. */
  readonly stride?: number | Pair;
  /** Zeros on each side. Default 0. */
  readonly padding?: number | Pair;
  /** Default 1. */
  readonly dilation?: number | Pair;
  /** Default 1. */
  readonly groups?: number;
}

function pair(value: number | Pair | undefined, otherwise: number): Pair {
  if (value === undefined) return [otherwise, otherwise];
  return typeof value === 'number' ? [value, value] : value;
}

export function convolutionAttributes(options: ConvolutionOptions): ConvolutionAttributes {
  return {
    stride: pair(options.stride, 1),
    padding: pair(options.padding, 0),
    dilation: pair(options.dilation, 1),
    groups: options.groups ?? 1,
  };
}

/** Output height and width. */
export function convolutionSize(op: string, input: Pair, kernel: Pair, attributes: ConvolutionAttributes): Pair {
  const size = (axis: 0 | 1): number => {
    const { stride, padding, dilation } = attributes;
    const span = dilation[axis] * (kernel[axis] - 1) + 1;
    const output = Math.floor((input[axis] + 2 * padding[axis] - span) / stride[axis]) + 1;
    if (!(output >= 1)) {
      throw shapeError(
        op,
        `a kernel of ${kernel.join('x')} (dilation ${dilation.join('x')}) does not fit an input of ${input.join('x')} with padding ${padding.join('x')}`,
      );
    }
    return output;
  };
  return [size(0), size(1)];
}

/** Throws unless channels divide into groups and the weight's input channels fit. */
export function checkGroups(op: string, inChannels: number, outChannels: number, weightChannels: number, groups: number): void {
  if (inChannels % groups !== 0 || outChannels % groups !== 0) {
    throw shapeError(op, `${inChannels} input and ${outChannels} output channels do not divide into ${groups} groups`);
  }
  if (weightChannels * groups !== inChannels) {
    throw shapeError(op, `expected a weight with ${inChannels / groups} input channels per group but received ${weightChannels}`);
  }
}

/** Multiply-adds counted as two, for `positions` outputs of `outChannels` each. */
export function convolutionFlops(positions: number, outChannels: number, kernel: Pair, channelsPerGroup: number): number {
  return 2 * positions * outChannels * kernel[0] * kernel[1] * channelsPerGroup;
}
