/** Convolutions with BatchNorm by given statistics, a residual, an activation and the means over positions, one after the other. */
import { convolution } from './convolution.js';
import { mixedConv2d } from './mixing.js';
import type { Arguments } from './operation.js';
import { size, type Tensor, zeros } from './tensor.js';

const activations: Readonly<Record<string, (value: number) => number>> = {
  none: (value) => value,
  relu: (value) => Math.max(value, 0),
  relu6: (value) => Math.min(Math.max(value, 0), 6),
};

export function activationOf(args: Arguments): (value: number) => number {
  return activations[args.text('activation')] ?? args.fail('no such activation');
}

/** The inputs from `first` on are scale, shift, mean, variance and perhaps a residual. */
function finish(args: Arguments, y: Tensor, first: number): Tensor {
  const [scale, shift, mean, variance] = [0, 1, 2, 3].map((i) => args.input(first + i).data) as [
    Float64Array,
    Float64Array,
    Float64Array,
    Float64Array,
  ];
  const residual = args.optional(first + 4);
  const activate = activationOf(args);
  const channels = size(y, -1);
  for (let i = 0; i < y.data.length; i++) {
    const c = i % channels;
    const normalized = ((y.data[i]! - mean[c]!) / Math.sqrt(variance[c]! + args.number('epsilon'))) * scale[c]! + shift[c]!;
    y.data[i] = activate(normalized + (residual?.data[i] ?? 0));
  }
  return y;
}

/** Of y [N, H, W, C] over its positions: [N, C]. */
export function meansOf(y: Tensor): Tensor {
  const [samples, channels] = [size(y, 0), size(y, -1)];
  const means = zeros([samples, channels]);
  const positions = y.data.length / (samples * channels);
  y.data.forEach((value, i) => {
    means.data[Math.floor(i / (positions * channels)) * channels + (i % channels)]! += value / positions;
  });
  return means;
}

export function normalizedConv2d(args: Arguments): Tensor[] {
  return [finish(args, convolution(args, args.input(0), args.operand(1), args.optional(2), false), 3)];
}

export function normalizedMixedConv2d(args: Arguments): Tensor[] {
  const y = finish(args, mixedConv2d(args)[0]!, 4);
  return args.boolean('means') ? [y, meansOf(args.rounded(y))] : [y];
}
