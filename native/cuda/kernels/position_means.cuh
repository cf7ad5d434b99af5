// Means over positions, of what convolutions wrote, or of the shares in them that their blocks computed.
#pragma once

#include "cuda/kernels/primitives.cuh"

namespace kw::cuda::device {

/** means [images,channels] = the sum of shares [images,count,channels] in them, in order; `elements` of means. */
static __global__ void sum_means(const float* shares, long long count, int channels, long long elements, float* means) {
  const long long index = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= elements) return;
  const float* share = shares + index / channels * count * channels + index % channels;
  float sum = 0.0f;
  for (long long i = 0; i < count; ++i) sum += share[i * channels];
  means[index] = sum;
}

/** means [images,channels] of y over its positions: a block for each image and each 32 channels, whose warps take turns at the positions.
 */
template <class T>
__global__ void average_positions(const T* y, long long positions, int channels, float* means) {
  constexpr int kWarps = 8;
  float* sums = shared_array<struct AveragePositions, float, kWarps * kWarpSize>();
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize, warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int blocks = ceil_divide(channels, kWarpSize);
  const long long image = blockIdx.x / blocks;
  const int channel = static_cast<int>(blockIdx.x % blocks) * kWarpSize + lane;
  float sum = 0.0f;
  if (channel < channels) {
    for (long long position = warp; position < positions; position += kWarps)
      sum += to_float(y[(image * positions + position) * channels + channel]);
  }
  sums[warp * kWarpSize + lane] = sum;
  syncthreads();
  if (warp > 0 || channel >= channels) return;
  for (int other = 1; other < kWarps; ++other) sum += sums[other * kWarpSize + lane];
  means[image * channels + channel] = sum / static_cast<float>(positions);
}

}  // namespace kw::cuda::device
