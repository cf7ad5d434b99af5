// The gradient of batch normalization: sums over the rows, then dx. With g the gradient that the activation lets pass,
// dx = factor * ((g - mean(g)) - (x - mean) * slope), slope = mean(g (x - mean)) / (variance + epsilon), factor = scale / deviation.
// Without a residual the activation's input is computed again from x; with one, its output y tells, and g is stored: it is the residual's
// gradient, and the second pass reads it.
#pragma once

#include "cuda/kernels/channel_factors.cuh"
#include "cuda/kernels/column_sums.cuh"

namespace kw::cuda::device {

/** The operands, [rows, channels] or [channels]. With `y`, `passed` receives g and may be dy's memory, as dx may be. */
template <class T>
struct BatchNormGradient {
  const T* dy;
  const T* x;
  const float* scale;
  const float* mean;
  const float* variance;
  const float* bias;  // null without an activation
  const T* y;         // null: the activation's input is computed again
  double epsilon;
  NormActivation activation;
  bool constant_statistics;  // then dx = factor * g
  T* dx;
  float* dscale;
  float* dbias;
  T* passed;
};

/** Adds g and g * (x - mean) of a block's rows first .. last - 1, over its threads. */
template <class T, int kCount>
__device__ __forceinline__ void block_gradient_sums(const BatchNormGradient<T>& norm, const ChannelFactors<kCount>& factors,
                                                    const Columns& columns, const ColumnThread<kCount>& thread, long long first,
                                                    long long last, double (&sums)[2][kCount]) {
  constexpr int kAtOnce = 4;
  const long long stride = static_cast<long long>(thread.step) * columns.channels;
  long long at = (first + thread.row) * columns.channels + thread.channel;
  int count = thread.rows_between(first, last);
  while (count > 0) {
    float sum[kCount] = {}, product[kCount] = {};
    const int run = min(count, kRunRows);
    count -= run;
    for (int done = 0; done < run; done += kAtOnce, at += kAtOnce * stride) {
      Pack<float, kCount> gradient[kAtOnce] = {}, x[kAtOnce] = {}, y[kAtOnce] = {};
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        if (done + i >= run) continue;
        gradient[i] = load_pack<kCount>(norm.dy + at + i * stride);
        x[i] = load_pack<kCount>(norm.x + at + i * stride);
        if (norm.y) y[i] = load_pack<kCount>(norm.y + at + i * stride);
      }
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        if (done + i >= run) continue;
#pragma unroll
        for (int c = 0; c < kCount; ++c) {
          const float decides = norm.y ? y[i][c] : normalized(x[i][c], factors.mean[c], factors.factor[c], factors.bias[c]);
          const float passed = masked(gradient[i][c], decides, norm.activation);
          gradient[i][c] = passed;
          sum[c] += passed;
          product[c] = fmaf(passed, x[i][c] - factors.mean[c], product[c]);
        }
        if (norm.y) store_pack(norm.passed + at + i * stride, gradient[i]);
      }
    }
#pragma unroll
    for (int c = 0; c < kCount; ++c) {
      sums[0][c] += sum[c];
      sums[1][c] += product[c];
    }
  }
  add_over_threads(sums, thread);
}

/** What dx needs of the sums, for one channel. */
struct GradientMeans {
  float gradient, slope, dscale, dbias;

  __device__ __forceinline__ GradientMeans(double sum, double product, float variance, double epsilon, long long rows) {
    const float inverse = inverse_deviation(variance, epsilon);
    const double count = static_cast<double>(rows);
    gradient = static_cast<float>(sum / count);
    slope = static_cast<float>(product / count * inverse * inverse);
    dscale = static_cast<float>(product * inverse);
    dbias = static_cast<float>(sum);
  }
};

/** dx of the rows first + row, first + row + step, ... before `last`. */
template <class T, int kCount>
__device__ __forceinline__ void gradient_rows(const BatchNormGradient<T>& norm, const ChannelFactors<kCount>& factors,
                                              const float (&gradient_mean)[kCount], const float (&slope)[kCount], const Columns& columns,
                                              const ColumnThread<kCount>& thread, long long first, long long last) {
  constexpr int kAtOnce = 4;
  const T* from = norm.y ? norm.passed : norm.dy;
  const NormActivation activation = norm.y ? NormActivation::none : norm.activation;
  const long long stride = static_cast<long long>(thread.step) * columns.channels;
  long long at = (first + thread.row) * columns.channels + thread.channel;
  for (int count = thread.rows_between(first, last); count > 0; count -= kAtOnce, at += kAtOnce * stride) {
    Pack<float, kCount> gradient[kAtOnce] = {}, x[kAtOnce] = {};
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (i >= count) continue;
      gradient[i] = load_pack<kCount>(from + at + i * stride);
      if (!norm.constant_statistics) x[i] = load_pack<kCount>(norm.x + at + i * stride);
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (i >= count) continue;
#pragma unroll
      for (int c = 0; c < kCount; ++c) {
        if (norm.constant_statistics) {
          gradient[i][c] *= factors.factor[c];
        } else {
          const float g = masked(gradient[i][c], normalized(x[i][c], factors.mean[c], factors.factor[c], factors.bias[c]), activation);
          gradient[i][c] = factors.factor[c] * ((g - gradient_mean[c]) - (x[i][c] - factors.mean[c]) * slope[c]);
        }
      }
      store_pack(norm.dx + at + i * stride, gradient[i]);
    }
  }
}

/** partials [gridDim.y, 2, channels]: the sums of each split of the rows. */
template <class T, int kCount>
__global__ void __launch_bounds__(kColumnThreads, kColumnBlocks)
    batch_gradient_sums(BatchNormGradient<T> norm, Columns columns, double* partials) {
  const ColumnThread<kCount> thread(columns);
  ChannelFactors<kCount> factors;
  factors.load(norm.scale, norm.mean, norm.variance, norm.bias, norm.epsilon, columns, thread);
  double sums[2][kCount] = {};
  block_gradient_sums<T, kCount>(norm, factors, columns, thread, split_begin(columns.rows, blockIdx.y, gridDim.y),
                                 split_begin(columns.rows, blockIdx.y + 1, gridDim.y), sums);
  store_partials(sums, thread, columns.channels, partials);
}

/** dscale, dbias and means [2, channels], the mean of g and the slope, of `rows` rows. `columns`: of the partials. */
__global__ void __launch_bounds__(kColumnThreads, kColumnBlocks)
    finish_batch_gradient_sums(const double* partials, Columns columns, long long rows, const float* variance, double epsilon,
                               float* dscale, float* dbias, float* means) {
  const ColumnThread<1> thread(columns);
  double sums[2][1] = {};
  add_partials(partials, columns, thread, sums);
  if (thread.row > 0 || !thread.active) return;
  const int c = thread.channel;
  const GradientMeans result(sums[0][0], sums[1][0], variance[c], epsilon, rows);
  dscale[c] = result.dscale;
  dbias[c] = result.dbias;
  means[c] = result.gradient;
  means[columns.channels + c] = result.slope;
}

/** dx from the sums' means. blockIdx.y is the split of the rows. */
template <class T, int kCount>
__global__ void __launch_bounds__(kColumnThreads, kColumnBlocks)
    batch_gradient(BatchNormGradient<T> norm, Columns columns, const float* means) {
  const ColumnThread<kCount> thread(columns);
  ChannelFactors<kCount> factors;
  factors.load(norm.scale, norm.mean, norm.variance, norm.bias, norm.epsilon, columns, thread);
  float gradient_mean[kCount] = {}, slope[kCount] = {};
  if (thread.active) {
#pragma unroll
    for (int c = 0; c < kCount; ++c) {
      gradient_mean[c] = means[thread.channel + c];
      slope[c] = means[columns.channels + thread.channel + c];
    }
  }
  gradient_rows<T, kCount>(norm, factors, gradient_mean, slope, columns, thread, split_begin(columns.rows, blockIdx.y, gridDim.y),
                           split_begin(columns.rows, blockIdx.y + 1, gridDim.y));
}

/** All in one go, for few rows: a block has all rows of its channels. */
template <class T, int kCount>
__global__ void __launch_bounds__(kColumnThreads, kColumnBlocks) batch_gradient_of_few_rows(BatchNormGradient<T> norm, Columns columns) {
  const ColumnThread<kCount> thread(columns);
  ChannelFactors<kCount> factors;
  factors.load(norm.scale, norm.mean, norm.variance, norm.bias, norm.epsilon, columns, thread);
  double sums[2][kCount] = {};
  block_gradient_sums<T, kCount>(norm, factors, columns, thread, 0, columns.rows, sums);
  float gradient_mean[kCount] = {}, slope[kCount] = {};
  if (thread.active) {
#pragma unroll
    for (int c = 0; c < kCount; ++c) {
      const GradientMeans result(sums[0][c], sums[1][c], norm.variance[thread.channel + c], norm.epsilon, columns.rows);
      gradient_mean[c] = result.gradient;
      slope[c] = result.slope;
      if (thread.row == 0) {
        norm.dscale[thread.channel + c] = result.dscale;
        norm.dbias[thread.channel + c] = result.dbias;
      }
    }
  }
  gradient_rows<T, kCount>(norm, factors, gradient_mean, slope, columns, thread, 0, columns.rows);
}

}  // namespace kw::cuda::device
