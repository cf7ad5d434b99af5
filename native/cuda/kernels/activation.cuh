// Activations of single elements and their gradients, as functions for map and map_pairs. The order of comparisons lets a NaN through.
#pragma once

#include "cuda/kernels/map.cuh"
#include "ops/normal_tail.h"

namespace kw::cuda::device {

struct Relu {
  __device__ __forceinline__ float operator()(float x) const { return 0.0f > x ? 0.0f : x; }
};

struct ReluBackward {
  __device__ __forceinline__ float operator()(float dy, float y) const { return y > 0.0f ? dy : 0.0f; }
};

struct Relu6 {
  __device__ __forceinline__ float operator()(float x) const {
    const float positive = Relu()(x);
    return 6.0f < positive ? 6.0f : positive;
  }
};

struct Relu6Backward {
  __device__ __forceinline__ float operator()(float dy, float y) const { return y > 0.0f && y < 6.0f ? dy : 0.0f; }
};

struct Sigmoid {
  __device__ __forceinline__ float operator()(float x) const { return 1.0f / (1.0f + expf(-x)); }
};

struct SigmoidBackward {
  __device__ __forceinline__ float operator()(float dy, float y) const { return dy * y * (1.0f - y); }
};

struct Normal {
  float cumulative;   // 0.5 (1 + erf(x / sqrt 2))
  float exponential;  // exp(-x^2 / 2)
};

__device__ __forceinline__ Normal standard_normal(float x) {
  const float magnitude = fabsf(x) > 16.0f ? 16.0f : fabsf(x);  // exp is 0 there
  const float t = 1.0f / (1.0f + 0.35f * magnitude);
  // The rounding of x^2 would be an error of exp(-x^2/2) many times as large; it is small enough for the first term of its own series.
  const float square = magnitude * magnitude;
  const float power = expf(-0.5f * square) * (1.0f - 0.5f * fmaf(magnitude, magnitude, -square));
  const float tail = power * scaled_normal_tail(t);
  return {x > 0.0f ? 1.0f - tail : tail, power};
}

struct Gelu {
  __device__ __forceinline__ float operator()(float x) const { return x * standard_normal(x).cumulative; }
};

struct GeluBackward {
  __device__ __forceinline__ float operator()(float dy, float x) const {
    constexpr float kDensity = 0.398942280f;  // 1 / sqrt(2 pi)
    const Normal normal = standard_normal(x);
    return dy * (normal.cumulative + kDensity * x * normal.exponential);
  }
};

}  // namespace kw::cuda::device
