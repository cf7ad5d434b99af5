// Mean over a grid of windows that cover the image, channels-last, with its gradient.
#pragma once

#include "cuda/kernels/pack.cuh"

namespace kw::cuda::device {

constexpr int kWindowThreads = 128;

// Sizes for [height, width].
struct AdaptiveShape {
  int image[2];
  int grid[2];
  long long channels;
};

// The first place of part `part` and the first one after it, where `size` places are covered by `parts` parts that may overlap: the pixels
// of a window, or the windows of a pixel.
__device__ __forceinline__ int part_start(int size, int parts, int part) {
  return static_cast<int>(static_cast<long long>(part) * size / parts);
}
__device__ __forceinline__ int part_end(int size, int parts, int part) {
  return static_cast<int>(ceil_divide<long long>((part + 1ll) * size, parts));
}

// A block averages one window for `lanes` packs of channels, which a line of threads has side by side. Each thread adds every so many
// pixels in their order, and the lines' sums are added in theirs. Grid: for each window of each sample, a block for every `lanes` packs.
template <class T, int kCount>
__global__ void __launch_bounds__(kWindowThreads) adaptive_avg_pool(const T* x, AdaptiveShape shape, int lanes, float* y) {
  const int lane = static_cast<int>(threadIdx.x) % lanes, line = static_cast<int>(threadIdx.x) / lanes;
  const int lines = kWindowThreads / lanes, width = lanes * kCount;
  const long long tiles = ceil_divide<long long>(shape.channels, width), window = blockIdx.x / tiles;
  const long long first_channel = (blockIdx.x - window * tiles) * width, channel = first_channel + lane * kCount;
  const long long grid_line = window / shape.grid[1], sample = grid_line / shape.grid[0];
  const int grid_row = static_cast<int>(grid_line % shape.grid[0]), grid_column = static_cast<int>(window % shape.grid[1]);
  const int top = part_start(shape.image[0], shape.grid[0], grid_row), left = part_start(shape.image[1], shape.grid[1], grid_column);
  const int rows = part_end(shape.image[0], shape.grid[0], grid_row) - top;
  const int columns = part_end(shape.image[1], shape.grid[1], grid_column) - left;
  double totals[kCount] = {};
  if (channel < shape.channels) {
    const T* corner = x + ((sample * shape.image[0] + top) * shape.image[1] + left) * shape.channels + channel;
    for (int pixel = line; pixel < rows * columns; pixel += lines) {
      const int row = pixel / columns, column = pixel - row * columns;
      const auto values = load_pack<kCount>(corner + (static_cast<long long>(row) * shape.image[1] + column) * shape.channels);
#pragma unroll
      for (int k = 0; k < kCount; ++k) totals[k] += values[k];
    }
  }
  double* line_totals = shared_array<struct WindowTotals, double, kWindowThreads * kCount>();  // [lines, width]
#pragma unroll
  for (int k = 0; k < kCount; ++k) line_totals[line * width + lane * kCount + k] = totals[k];
  syncthreads();
  for (int k = static_cast<int>(threadIdx.x); k < width && first_channel + k < shape.channels; k += kWindowThreads) {
    double total = 0;
    for (int i = 0; i < lines; ++i) total += line_totals[i * width + k];
    y[window * shape.channels + first_channel + k] = static_cast<float>(total / (static_cast<double>(rows) * columns));
  }
}

// Every pixel adds what comes back from the windows that it is in, in their order. Packs are for multiples of kPack<T> channels.
template <class T>
__global__ void adaptive_avg_pool_backward(const float* dy, AdaptiveShape shape, long long count, bool packed, T* dx) {
  for_packs<kPack<T>>(count, packed, [&](long long i, auto width) {
    const long long pixel = i / shape.channels, channel = i - pixel * shape.channels, line = pixel / shape.image[1];
    const long long sample = line / shape.image[0];
    const int row = static_cast<int>(line % shape.image[0]), column = static_cast<int>(pixel - line * shape.image[1]);
    const int last_row = part_end(shape.grid[0], shape.image[0], row), last_column = part_end(shape.grid[1], shape.image[1], column);
    Pack<float, width.value> sums = {};
    for (int grid_row = part_start(shape.grid[0], shape.image[0], row); grid_row < last_row; ++grid_row) {
      const int rows = part_end(shape.image[0], shape.grid[0], grid_row) - part_start(shape.image[0], shape.grid[0], grid_row);
      for (int grid_column = part_start(shape.grid[1], shape.image[1], column); grid_column < last_column; ++grid_column) {
        const int columns = part_end(shape.image[1], shape.grid[1], grid_column) - part_start(shape.image[1], shape.grid[1], grid_column);
        const float factor = 1.0f / (static_cast<float>(rows) * static_cast<float>(columns));
        const long long window = (sample * shape.grid[0] + grid_row) * shape.grid[1] + grid_column;
        const auto gradients = load_pack<width.value>(dy + window * shape.channels + channel);
#pragma unroll
        for (int k = 0; k < width.value; ++k) sums[k] += gradients[k] * factor;
      }
    }
    store_pack(dx + i, sums);
  });
}

}  // namespace kw::cuda::device
