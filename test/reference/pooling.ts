import { roundToBfloat16 } from './bfloat16.js';
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
    const pixel = (sample * height * width + indices.data[i]!) * channels + (i % channels);
    const sum = dx.data[pixel]! + dy.data[i]!;
    dx.data[pixel] = args.isBfloat16 ? roundToBfloat16(sum) : sum;
  }
  return [dx];
}

/** The windows of AdaptiveAvgPool2d over one axis: for each, the pixels that it has. */
function adaptiveWindows(size: number, count: number): number[][] {
  return Array.from({ length: count }, (_, window) => {
    const [first, end] = [Math.floor((window * size) / count), Math.ceil(((window + 1) * size) / count)];
    return Array.from({ length: end - first }, (_, pixel) => first + pixel);
  });
}

/** Calls `meet` for each element of an image [N, H, W, C] and each element of the grid [N, rows, columns, C] whose mean it takes part in. */
function meetWindows(image: Tensor, grid: Tensor, meet: (element: number, window: number, area: number) => void): void {
  const [batch, height, width, channels] = image.shape as [number, number, number, number];
  const [gridRows, gridColumns] = grid.shape.slice(1, 3) as [number, number];
  const [rows, columns] = [adaptiveWindows(height, gridRows), adaptiveWindows(width, gridColumns)];
  for (let b = 0; b < batch; b++) {
    rows.forEach((hs, i) => {
      columns.forEach((ws, j) => {
        const window = ((b * gridRows + i) * gridColumns + j) * channels;
        for (const h of hs) {
          for (const w of ws) {
            const pixel = ((b * height + h) * width + w) * channels;
            for (let c = 0; c < channels; c++) meet(pixel + c, window + c, hs.length * ws.length);
          }
        }
      });
    });
  }
}

/** x `[N,H,W,C]` to the means of `size` windows `[N,rows,columns,C]`. */
export function adaptiveAvgPool2d(args: Arguments): Tensor[] {
  const x = args.input(0);
  const y = zeros([size(x, 0), ...args.pair('size'), size(x, -1)]);
  meetWindows(x, y, (element, window, area) => {
    y.data[window]! += x.data[element]! / area;
  });
  return [y];
}

export function adaptiveAvgPool2dBackward(args: Arguments): Tensor[] {
  const dy = args.input(0);
  const dx = zeros([size(dy, 0), ...args.pair('inputSize'), size(dy, -1)]);
  meetWindows(dx, dy, (element, window, area) => {
    dx.data[element]! += dy.data[window]! / area;
  });
  return [dx];
}
