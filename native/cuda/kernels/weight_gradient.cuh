// The gradient of a convolution's weight as a matrix product: rows are channels of y, columns taps and channels of x, depth runs over
// positions, which are divided into parts where there are too few tiles for the GPU; the parts' sums are added in order.
#pragma once

#include "cuda/kernels/convolution_problem.cuh"
#include "cuda/kernels/tile_product.cuh"

namespace kw::cuda::device {

struct WeightGradientGemmProblem {
  WeightGradientProblem gradient;
  Divider by_channels, by_positions, by_area, by_width;  // of in_width; of y's positions; of those without the first, the first two axes
  int row_tiles, column_tiles;
};

/** Writes one element of a weight gradient, or of a part's sums. */
__device__ __forceinline__ void store_weight_gradient(const WeightGradientProblem& p, long long weight, long long part, long long element,
                                                      float value) {
  const long long elements = static_cast<long long>(p.groups) * p.out_width * p.taps * p.in_width;
  if (p.parts > 1) {
    static_cast<float*>(p.result)[(part * p.weights + weight) * elements + element] = value;
  } else if (p.rounds) {
    static_cast<bfloat16*>(p.result)[weight * p.weight_stride + element] = to_bfloat16(value);
  } else {
    static_cast<float*>(p.result)[weight * p.weight_stride + element] = value;
  }
}

/** One block computes kTile channels of y by kTile columns over one part of the positions. kVector as for implicit_gemm. */
template <class Product, int kTile, int kVector>
__global__ void __launch_bounds__(TileSizes<typename Product::Element, kTile>::kThreads)
    weight_gradient_gemm(WeightGradientGemmProblem problem) {
  using T = typename Product::Element;
  using Sizes = TileSizes<T, kTile>;
  constexpr int kThreads = Sizes::kThreads;
  constexpr int kCopies = kTile / kVector;  // of a row of an operand
  constexpr int kCopiesOfThread = Sizes::kDepth * kCopies / kThreads;
  const WeightGradientProblem& p = problem.gradient;
  const int thread = static_cast<int>(threadIdx.x);

  long long block = blockIdx.x;
  const auto next = [&block](long long count) {
    const long long index = block % count;
    block /= count;
    return index;
  };
  const int first_row = static_cast<int>(next(problem.row_tiles)) * kTile;
  const int first_column = static_cast<int>(next(problem.column_tiles)) * kTile;
  const int group = static_cast<int>(next(p.groups));
  const long long part = next(p.parts);
  const long long weight = block;

  const int in_channels = p.groups * p.in_width, out_channels = p.groups * p.out_width;
  const ConvolutionAxis &depth_axis = p.axes[0], &height_axis = p.axes[1], &width_axis = p.axes[2];
  const int positions = depth_axis.out * height_axis.out * width_axis.out;
  const long long image_elements = static_cast<long long>(depth_axis.in) * height_axis.in * width_axis.in * in_channels;
  const int columns = p.taps * p.in_width;
  const long long all_positions = p.images * positions;
  const int first_position = static_cast<int>(part * p.part_positions);
  const int end_position = static_cast<int>(min(all_positions, (part + 1) * p.part_positions));
  const T* x = static_cast<const T*>(p.x) + weight * p.images * image_elements + group * p.in_width;
  const T* dy = static_cast<const T*>(p.dy) + weight * all_positions * out_channels + group * p.out_width;

  // A thread copies the same columns in each step.
  const int at = thread % kCopies * kVector;
  const bool copies_rows = first_row + at < p.out_width, copies_columns = first_column + at < columns;
  const int tap = copies_columns ? problem.by_channels(first_column + at) : 0;
  const int channel = first_column + at - tap * p.in_width;
  const int tap_w = tap % width_axis.kernel, tap_h = tap / width_axis.kernel % height_axis.kernel,
            tap_d = tap / width_axis.kernel / height_axis.kernel;
  const int offset_d = tap_d * depth_axis.dilation - depth_axis.padding, offset_h = tap_h * height_axis.dilation - height_axis.padding,
            offset_w = tap_w * width_axis.dilation - width_axis.padding;

  T* stages = reinterpret_cast<T*>(dynamic_shared());
  const auto load = [&](int step, T* a, T* b) {
#pragma unroll
    for (int i = 0; i < kCopiesOfThread; ++i) {
      const int row = thread / kCopies + i * (kThreads / kCopies);
      const int position = first_position + step * Sizes::kDepth + row;
      const bool within = position < end_position;
      const bool copies_dy = within && copies_rows;
      const T* from = dy + static_cast<long long>(position) * out_channels + first_row + at;
      copy_elements<kVector>(a + row * Sizes::kDepthStride + at, copies_dy ? from : dy, copies_dy);

      const int image = problem.by_positions(within ? position : 0);
      int rest = position - image * positions;
      const int out_d = problem.by_area(within ? rest : 0);
      rest -= out_d * height_axis.out * width_axis.out;
      const int out_h = problem.by_width(within ? rest : 0);
      const int out_w = rest - out_h * width_axis.out;
      const int d = out_d * depth_axis.stride + offset_d, h = out_h * height_axis.stride + offset_h,
                w = out_w * width_axis.stride + offset_w;
      const bool copies_x = within && copies_columns && static_cast<unsigned>(d) < static_cast<unsigned>(depth_axis.in) &&
                            static_cast<unsigned>(h) < static_cast<unsigned>(height_axis.in) &&
                            static_cast<unsigned>(w) < static_cast<unsigned>(width_axis.in);
      const long long x_position = (static_cast<long long>(d) * height_axis.in + h) * width_axis.in + w;
      copy_elements<kVector>(b + row * Sizes::kDepthStride + at,
                             copies_x ? x + image * image_elements + x_position * in_channels + channel : x, copies_x);
    }
  };

  const int steps = ceil_divide(max(0, end_position - first_position), Sizes::kDepth);
  TileSums<Product, kTile, false, false> sums;
  multiply_steps<Sizes>(0, steps, stages, load, sums);
  float* tile = reinterpret_cast<float*>(stages);
  sums.store(tile);
  syncthreads();
  for (int item = thread; item < kTile * kTile; item += kThreads) {
    const int row = item / kTile, column = item % kTile;
    if (first_row + row >= p.out_width || first_column + column >= columns) continue;
    const long long out_channel = static_cast<long long>(group) * p.out_width + first_row + row;
    store_weight_gradient(p, weight, part, out_channel * columns + first_column + column, tile[row * Sizes::kResultStride + column]);
  }
}

/** dweight [weights, each `elements`, `stride` apart] = the sum of the parts [parts,weights,elements], in order; T float or bfloat16. */
template <class T>
__global__ void sum_weight_gradient_parts(const float* sums, int parts, long long count, long long elements, long long stride, T* dweight) {
  const long long step = static_cast<long long>(gridDim.x) * blockDim.x;
  for (long long index = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; index < count; index += step) {
    float sum = 0.0f;
    for (int part = 0; part < parts; ++part) sum += sums[part * count + index];
    store_as(dweight + index / elements * stride + index % elements, sum);
  }
}

}  // namespace kw::cuda::device
