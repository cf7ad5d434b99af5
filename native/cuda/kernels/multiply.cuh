// x times a factor that is the same along some axes.
#pragma once

#include "cuda/kernels/axes.cuh"
#include "cuda/kernels/pack.cuh"

namespace kw::cuda::device {

struct FactorShape {
  Axes outer;         // of x but for the innermost, with strides in factor: 0 where it is the same along the axis
  long long inner;    // size of the innermost axis
  bool varies_inner;  // along the innermost axis
};

// Packs are for multiples of kPack<T> along the innermost axis, or where there is no other. y may be x's memory.
template <class T>
__global__ void multiply(const T* x, const float* factor, FactorShape shape, long long count, bool packed, T* y) {
  for_packs<kPack<T>>(count, packed, [&](long long i, auto width) {
    const long long row = i / shape.inner;
    const float* factors = factor + shape.outer.offset(row);
    auto values = load_pack<width.value>(x + i);
    if (shape.varies_inner) {
      const auto each = load_pack<width.value>(factors + (i - row * shape.inner));
#pragma unroll
      for (int k = 0; k < width.value; ++k) values[k] *= each[k];
    } else {
      const float all = *factors;
#pragma unroll
      for (int k = 0; k < width.value; ++k) values[k] *= all;
    }
    store_pack(y + i, values);
  });
}

// The gradient of a factor of x's shape.
template <class T>
__global__ void multiply_all(const T* a, const T* b, long long count, bool packed, float* y) {
  for_packs<kPack<T>>(count, packed, [&](long long i, auto width) {
    const auto values = load_pack<width.value>(a + i), others = load_pack<width.value>(b + i);
    Pack<float, width.value> products;
#pragma unroll
    for (int k = 0; k < width.value; ++k) products[k] = values[k] * others[k];
    store_pack(y + i, products);
  });
}

}  // namespace kw::cuda::device
