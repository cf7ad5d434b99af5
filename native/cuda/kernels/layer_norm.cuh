// Layer normalization (Ba et al. 2016) over the rows of [rows, channels], and its gradient. A row is read several times, from the cache but
// for the first.
#pragma once

#include "cuda/kernels/column_sums.cuh"
#include "cuda/kernels/lane_group.cuh"

namespace kw::cuda::device {

/** y may be x's memory. mean and variance are [rows]. */
template <class T>
struct LayerNorm {
  const T* x;
  const float* scale;
  const float* bias;
  double epsilon;
  T* y;
  float* mean;
  float* variance;
};

/** dx may be dy's memory. mean and variance are [rows]. */
template <class T>
struct LayerNormGradient {
  const T* dy;
  const T* x;
  const float* scale;
  const float* mean;
  const float* variance;
  float epsilon;
  T* dx;

  __device__ __forceinline__ float inverse_deviation(long long row) const { return rsqrtf(variance[row] + epsilon); }
};

/** Adds up the group's part of a row: `add(channel, values)` gives what `kCount` values from `channel` on contribute, in float; these are
 * added in double. */
template <int kCount, class Add>
__device__ __forceinline__ double sum_of_row(const LaneGroup& group, int channels, bool active, const Add& add) {
  double sum = 0;
  if (active) {
#pragma unroll 4
    for (int c = group.lane * kCount; c < channels; c += group.lanes * kCount) sum += add(c);
  }
  return group.sum(sum);
}

template <class T, int kCount>
__global__ void __launch_bounds__(kGroupThreads) layer_norm(LayerNorm<T> norm, long long rows, int channels, int lanes) {
  const LaneGroup group(lanes);
  const bool active = group.row < rows;
  const T* x = norm.x + group.row * channels;
  const float first = active ? to_float(x[0]) : 0.0f;
  const double total = sum_of_row<kCount>(group, channels, active, [&](int c) {
    const Pack<float, kCount> values = load_pack<kCount>(x + c);
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kCount; ++i) sum += values[i] - first;
    return sum;
  });
  const double exact_mean = first + total / channels;
  const float mean = static_cast<float>(exact_mean);
  const double rounding = exact_mean - mean;
  const double squares = sum_of_row<kCount>(group, channels, active, [&](int c) {
    const Pack<float, kCount> values = load_pack<kCount>(x + c);
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kCount; ++i) sum = fmaf(values[i] - mean, values[i] - mean, sum);
    return sum;
  });
  if (!active) return;
  const double variance = max(0.0, squares / channels - rounding * rounding);
  const float inverse = static_cast<float>(1.0 / sqrt(variance + norm.epsilon));
  if (group.lane == 0) {
    norm.mean[group.row] = mean;
    norm.variance[group.row] = static_cast<float>(variance);
  }
  T* y = norm.y + group.row * channels;
#pragma unroll 2
  for (int c = group.lane * kCount; c < channels; c += lanes * kCount) {
    Pack<float, kCount> values = load_pack<kCount>(x + c);
#pragma unroll
    for (int i = 0; i < kCount; ++i) values[i] = fmaf((values[i] - mean) * inverse, norm.scale[c + i], norm.bias[c + i]);
    store_pack(y + c, values);
  }
}

/** partials [gridDim.y, 2, channels]: of each split of the rows the sums of dy h and of dy, h = (x - mean) / deviation. */
template <class T, int kCount>
__global__ void __launch_bounds__(kColumnThreads, kColumnBlocks)
    layer_gradient_sums(LayerNormGradient<T> norm, Columns columns, double* partials) {
  const ColumnThread<kCount> thread(columns);
  const long long last = split_begin(columns.rows, blockIdx.y + 1, gridDim.y);
  long long row = split_begin(columns.rows, blockIdx.y, gridDim.y);
  int count = thread.rows_between(row, last);
  row += thread.row;
  double sums[2][kCount] = {};
  while (count > 0) {
    const int run = min(count, kRunRows);
    count -= run;
    float scale_sum[kCount] = {}, bias_sum[kCount] = {};
#pragma unroll 2
    for (int i = 0; i < run; ++i, row += thread.step) {
      const float mean = norm.mean[row], inverse = norm.inverse_deviation(row);
      const Pack<float, kCount> gradient = load_pack<kCount>(norm.dy + row * columns.channels + thread.channel);
      const Pack<float, kCount> x = load_pack<kCount>(norm.x + row * columns.channels + thread.channel);
#pragma unroll
      for (int c = 0; c < kCount; ++c) {
        scale_sum[c] = fmaf(gradient[c], (x[c] - mean) * inverse, scale_sum[c]);
        bias_sum[c] += gradient[c];
      }
    }
#pragma unroll
    for (int c = 0; c < kCount; ++c) {
      sums[0][c] += scale_sum[c];
      sums[1][c] += bias_sum[c];
    }
  }
  add_over_threads(sums, thread);
  store_partials(sums, thread, columns.channels, partials);
}

/** dscale and dbias [channels]. `columns`: of the partials. */
__global__ void __launch_bounds__(kColumnThreads, kColumnBlocks)
    finish_layer_gradient_sums(const double* partials, Columns columns, float* dscale, float* dbias) {
  const ColumnThread<1> thread(columns);
  double sums[2][1] = {};
  add_partials(partials, columns, thread, sums);
  if (thread.row > 0 || !thread.active) return;
  dscale[thread.channel] = static_cast<float>(sums[0][0]);
  dbias[thread.channel] = static_cast<float>(sums[1][0]);
}

/** With h as above and g = dy * scale: dx = (g - mean(g) - h mean(g h)) / deviation. */
template <class T, int kCount>
__global__ void __launch_bounds__(kGroupThreads) layer_gradient(LayerNormGradient<T> norm, long long rows, int channels, int lanes) {
  const LaneGroup group(lanes);
  const bool active = group.row < rows;
  const T *dy = norm.dy + group.row * channels, *x = norm.x + group.row * channels;
  const float mean = active ? norm.mean[group.row] : 0.0f, inverse = active ? norm.inverse_deviation(group.row) : 0.0f;
  double sum = 0, product = 0;
  if (active) {
#pragma unroll 2
    for (int c = group.lane * kCount; c < channels; c += lanes * kCount) {
      const Pack<float, kCount> gradient = load_pack<kCount>(dy + c), values = load_pack<kCount>(x + c);
      float pack_sum = 0, pack_product = 0;
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const float scaled = gradient[i] * norm.scale[c + i];
        pack_sum += scaled;
        pack_product = fmaf(scaled, (values[i] - mean) * inverse, pack_product);
      }
      sum += pack_sum;
      product += pack_product;
    }
  }
  const float sum_mean = static_cast<float>(group.sum(sum) / channels);
  const float product_mean = static_cast<float>(group.sum(product) / channels);
  if (!active) return;
  T* dx = norm.dx + group.row * channels;
#pragma unroll 2
  for (int c = group.lane * kCount; c < channels; c += lanes * kCount) {
    const Pack<float, kCount> values = load_pack<kCount>(x + c);
    Pack<float, kCount> gradient = load_pack<kCount>(dy + c);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      gradient[i] = (gradient[i] * norm.scale[c + i] - sum_mean - (values[i] - mean) * inverse * product_mean) * inverse;
    }
    store_pack(dx + c, gradient);
  }
}

}  // namespace kw::cuda::device
