// Weights in bfloat16, made of those that a program stores in float32.
#pragma once

#include "cuda/kernels/primitives.cuh"

namespace kw::cuda::device {

/** rounded [weights,elements] = weights of `elements` elements, `stride` apart. */
static __global__ void round_weights(const float* weights, long long count, long long elements, long long stride, bfloat16* rounded) {
  const long long step = static_cast<long long>(gridDim.x) * blockDim.x;
  for (long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
    rounded[i] = to_bfloat16(weights[i / elements * stride + i % elements]);
  }
}

}  // namespace kw::cuda::device
