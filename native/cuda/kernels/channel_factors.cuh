// What batch normalization does to a value, forward and backward: the factors of its channel, and the activation after it.
#pragma once

#include "cuda/kernels/column_sums.cuh"

namespace kw::cuda::device {

/** What follows the normalization. */
enum class NormActivation { none, relu, relu6 };

/** The order of the comparisons lets a NaN through. */
__device__ __forceinline__ float activated(float value, NormActivation activation) {
  if (activation == NormActivation::none) return value;
  const float positive = 0.0f > value ? 0.0f : value;
  return activation == NormActivation::relu6 && 6.0f < positive ? 6.0f : positive;
}

/** The gradient where the activation lets it pass, by its input or its output. */
__device__ __forceinline__ float masked(float gradient, float value, NormActivation activation) {
  if (activation == NormActivation::none) return gradient;
  const float positive = value > 0.0f ? gradient : 0.0f;
  return activation == NormActivation::relu || value < 6.0f ? positive : 0.0f;
}

__device__ __forceinline__ float inverse_deviation(float variance, double epsilon) {
  return static_cast<float>(1.0 / sqrt(variance + epsilon));
}

/** The normalized value; forward and backward compute it by this one expression, so that they decide alike where an activation limits it.
 */
__device__ __forceinline__ float normalized(float x, float mean, float factor, float bias) { return fmaf(x - mean, factor, bias); }

/** Of each channel of a thread: y = (x - mean) * factor + bias. */
template <int kCount>
struct ChannelFactors {
  float mean[kCount], factor[kCount], bias[kCount];

  /** From scale and variance; a channel's factor is computed by one thread of the block. A null `bias` gives zeros. All threads take part.
   */
  __device__ __forceinline__ void load(const float* scale, const float* means, const float* variance, const float* biases, double epsilon,
                                       const Columns& columns, const ColumnThread<kCount>& thread) {
    float* factors = shared_array<struct Factors, float, kMostLanes * kCount>();
    const int width = columns.lanes * kCount, own = static_cast<int>(threadIdx.x);
    const int channel = static_cast<int>(blockIdx.x) * width + own;
    if (own < width && channel < columns.channels) factors[own] = scale[channel] * inverse_deviation(variance[channel], epsilon);
    syncthreads();
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      factor[i] = thread.active ? factors[thread.lane * kCount + i] : 0.0f;
      mean[i] = thread.active ? means[thread.channel + i] : 0.0f;
      bias[i] = thread.active && biases ? biases[thread.channel + i] : 0.0f;
    }
  }
};

}  // namespace kw::cuda::device
