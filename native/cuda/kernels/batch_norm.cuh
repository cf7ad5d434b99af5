// Batch normalization (Ioffe & Szegedy 2015) over the rows of [rows, channels], forward: statistics, then one pass that normalizes, adds a
// residual and applies an activation. Each run of rows is measured from its own first row and the runs are added in double, so a mean that
// is large against the deviation does not cancel, and a constant channel has variance exactly 0.
#pragma once

#include "cuda/kernels/channel_factors.cuh"
#include "cuda/kernels/column_sums.cuh"

namespace kw::cuda::device {

/** The operands of a normalization, [rows, channels] or [channels]; `residual` may be null. y may be the memory of x or of the residual. */
template <class T>
struct BatchNorm {
  const T* x;
  const T* residual;
  const float* scale;
  const float* bias;
  const float* mean;
  const float* variance;
  double epsilon;
  NormActivation activation;
  T* y;
};

/** Adds x - base and its square, of `count` rows from x that lie `stride` elements apart. */
template <class T, int kCount>
__device__ __forceinline__ void add_moments(const T* x, long long stride, int count, const Pack<float, kCount>& base,
                                            double (&sums)[2][kCount]) {
  for (; count > 0; count -= kRunRows) {
    const int run = min(count, kRunRows);
    const Pack<float, kCount> origin = load_pack<kCount>(x);
    float sum[kCount] = {}, square[kCount] = {};
    x += stride;
#pragma unroll 4
    for (int i = 1; i < run; ++i, x += stride) {
      const Pack<float, kCount> values = load_pack<kCount>(x);
#pragma unroll
      for (int c = 0; c < kCount; ++c) {
        const float difference = values[c] - origin[c];
        sum[c] += difference;
        square[c] = fmaf(difference, difference, square[c]);
      }
    }
#pragma unroll
    for (int c = 0; c < kCount; ++c) {
      const double shift = static_cast<double>(origin[c]) - base[c];
      sums[0][c] += run * shift + sum[c];
      sums[1][c] += square[c] + 2 * shift * sum[c] + run * shift * shift;
    }
  }
}

/** The moments about x[0] of the rows first .. last - 1, added over the block's threads. */
template <class T, int kCount>
__device__ __forceinline__ void block_moments(const T* x, const Columns& columns, const ColumnThread<kCount>& thread, long long first,
                                              long long last, double (&sums)[2][kCount]) {
  Pack<float, kCount> base = {};
  if (thread.active) base = load_pack<kCount>(x + thread.channel);
  add_moments<T, kCount>(x + (first + thread.row) * columns.channels + thread.channel,
                         static_cast<long long>(thread.step) * columns.channels, thread.rows_between(first, last), base, sums);
  add_over_threads(sums, thread);
}

/** Mean and biased variance from the moments about `base`. */
struct Moments {
  float mean, variance;

  __device__ __forceinline__ Moments(double sum, double square, float base, long long rows) {
    const double count = static_cast<double>(rows), shift = sum / count;
    mean = static_cast<float>(base + shift);
    variance = static_cast<float>(max(0.0, square / count - shift * shift));
  }
};

/** y of the rows first + row, first + row + step, ... before `last`. */
template <class T, int kCount>
__device__ __forceinline__ void normalize_rows(const BatchNorm<T>& norm, const ChannelFactors<kCount>& factors, const Columns& columns,
                                               const ColumnThread<kCount>& thread, long long first, long long last) {
  constexpr int kAtOnce = 4;
  const long long stride = static_cast<long long>(thread.step) * columns.channels;
  long long at = (first + thread.row) * columns.channels + thread.channel;
  for (int count = thread.rows_between(first, last); count > 0; count -= kAtOnce, at += kAtOnce * stride) {
    Pack<float, kCount> values[kAtOnce] = {}, residual[kAtOnce] = {};
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (i >= count) continue;
      values[i] = load_pack<kCount>(norm.x + at + i * stride);
      if (norm.residual) residual[i] = load_pack<kCount>(norm.residual + at + i * stride);
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (i >= count) continue;
#pragma unroll
      for (int c = 0; c < kCount; ++c) {
        float value = normalized(values[i][c], factors.mean[c], factors.factor[c], factors.bias[c]);
        if (norm.residual) value += residual[i][c];
        values[i][c] = activated(value, norm.activation);
      }
      store_pack(norm.y + at + i * stride, values[i]);
    }
  }
}

/** partials [gridDim.y, 2, channels]: the moments of each split of x's rows about x[0]. */
template <class T, int kCount>
__global__ void __launch_bounds__(kColumnThreads, kColumnBlocks) batch_moments(const T* x, Columns columns, double* partials) {
  const ColumnThread<kCount> thread(columns);
  double sums[2][kCount] = {};
  block_moments<T, kCount>(x, columns, thread, split_begin(columns.rows, blockIdx.y, gridDim.y),
                           split_begin(columns.rows, blockIdx.y + 1, gridDim.y), sums);
  store_partials(sums, thread, columns.channels, partials);
}

/** mean and variance [channels] of `rows` rows. `columns`: of the partials. */
template <class T>
__global__ void __launch_bounds__(kColumnThreads, kColumnBlocks)
    finish_batch_moments(const T* x, const double* partials, Columns columns, long long rows, float* mean, float* variance) {
  const ColumnThread<1> thread(columns);
  double sums[2][1] = {};
  add_partials(partials, columns, thread, sums);
  if (thread.row > 0 || !thread.active) return;
  const Moments moments(sums[0][0], sums[1][0], to_float(x[thread.channel]), rows);
  mean[thread.channel] = moments.mean;
  variance[thread.channel] = moments.variance;
}

/** y with the given statistics. blockIdx.y is the split of the rows. */
template <class T, int kCount>
__global__ void __launch_bounds__(kColumnThreads, kColumnBlocks) batch_normalize(BatchNorm<T> norm, Columns columns) {
  const ColumnThread<kCount> thread(columns);
  ChannelFactors<kCount> factors;
  factors.load(norm.scale, norm.mean, norm.variance, norm.bias, norm.epsilon, columns, thread);
  normalize_rows<T, kCount>(norm, factors, columns, thread, split_begin(columns.rows, blockIdx.y, gridDim.y),
                            split_begin(columns.rows, blockIdx.y + 1, gridDim.y));
}

/** Statistics and y in one go, for few rows: a block has all rows of its channels. */
template <class T, int kCount>
__global__ void __launch_bounds__(kColumnThreads, kColumnBlocks)
    batch_norm_of_few_rows(BatchNorm<T> norm, Columns columns, float* mean, float* variance) {
  const ColumnThread<kCount> thread(columns);
  double sums[2][kCount] = {};
  block_moments<T, kCount>(norm.x, columns, thread, 0, columns.rows, sums);
  if (thread.row == 0 && thread.active) {
#pragma unroll
    for (int c = 0; c < kCount; ++c) {
      const Moments moments(sums[0][c], sums[1][c], to_float(norm.x[thread.channel + c]), columns.rows);
      mean[thread.channel + c] = moments.mean;
      variance[thread.channel + c] = moments.variance;
    }
  }
  syncthreads();
  ChannelFactors<kCount> factors;
  factors.load(norm.scale, mean, variance, norm.bias, norm.epsilon, columns, thread);
  normalize_rows<T, kCount>(norm, factors, columns, thread, 0, columns.rows);
}

/** r = keep * r + weight * s for mean and variance, [channels] each. */
__global__ void update_running_statistics(float* running_mean, float* running_variance, const float* mean, const float* variance,
                                          int channels, float keep, float mean_weight, float variance_weight) {
  const int c = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (c >= channels) return;
  running_mean[c] = keep * running_mean[c] + mean_weight * mean[c];
  running_variance[c] = keep * running_variance[c] + variance_weight * variance[c];
}

}  // namespace kw::cuda::device
