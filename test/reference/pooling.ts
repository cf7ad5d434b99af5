import type { Arguments } from './operation.js';
import { size, type Tensor, zeros } from './tensor.js';

/** x `[N, ..., C]` to its mean over the middle axes `[N, C]`. */
export function globalAvgPool(args: Arguments): Tensor[] {
  const x = args.input(0);
  const [batch, channels] = [size(x, 0), size(x, -1)];
  const y = zeros([batch, channels]);
  const positions = x.data.length / (batch * channels);
  for (let i = 0; i < x.data.length; i++) {
    const sample = Math.floor(i / (positions * channels));
    y.data[sample * channels + (i % channels)]! += x.data[i]! / positions;
  }
  return [y];
}

/** With an accumulator the result is added to it. */
export function globalAvgPoolBackward(args: Arguments): Tensor[] {
  const [dy, accumulator] = [args.input(0), args.optional(1)];
  const dx = zeros(args.numbers('inputShape'));
  const [batch, channels] = [size(dx, 0), size(dx, -1)];
  const positions = dx.data.length / (batch * channels);
  for (let i = 0; i < dx.data.length; i++) {
    const sample = Math.floor(i / (positions * channels));
    dx.data[i] = (accumulator?.data[i] ?? 0) + dy.data[sample * channels + (i % channels)]! / positions;
  }
  return [dx];
}

/** y and the index h*W+w of the first maximum of each window; padding never wins. */
export function maxPool2d(args: Arguments): Tensor[] {
  const x = args.input(0);
  const [y, indices] = [zeros(args.outputShape(0)), zeros(args.outputShape(1))];
  const [kernel, stride, padding] = [args.pair('kernel'), args.pair('stride'), args.pair('padding')];
  const [, height, width, channels] = x.shape as [number, number, number, number];
  const [batch, outHeight, outWidth] = y.shape as [number, number, number];
  for (let b = 0, to = 0; b < batch; b++) {
    for (let oh = 0; oh < outHeight; oh++) {
      for (let ow = 0; ow < outWidth; ow++) {
        for (let c = 0; c < channels; c++, to++) {
          let best = -Infinity;
          let index = -1;
          for (let p = 0; p < kernel[0]; p++) {
            for (let q = 0; q < kernel[1]; q++) {
              const h = oh * stride[0] - padding[0] + p;
              const w = ow * stride[1] - padding[1] + q;
              if (h < 0 || h >= height || w < 0 || w >= width) continue;
              const value = x.data[((b * height + h) * width + w) * channels + c]!;
              if (index < 0 || value > best) [best, index] = [value, h * width + w];
            }
          }
          y.data[to] = best;
          indices.data[to] = index;
        }
      }
    }
  }
  return [y, indices];
}

export function maxPool2dBackward(args: Arguments): Tensor[] {
  const [dy, indices] = [args.input(0), args.input(1)];
  const [height, width] = args.pair('inputSize');
  const [batch, channels] = [size(dy, 0), size(dy, -1)];
  const dx = zeros([batch, height, width, channels]);
  const perSample = dy.data.length / batch;
  for (let i = 0; i < dy.data.length; i++) {
    const sample = Math.floor(i / perSample);
    dx.data[(sample * height * width + indices.data[i]!) * channels + (i % channels)]! += dy.data[i]!;
  }
  return [dx];
}
