// Functions of single elements, or of pairs of them. An output may be an input's memory.
#pragma once

#include "cuda/kernels/pack.cuh"

namespace kw::cuda::device {

// y = Function(x), in float32, rounded once.
template <class Function, class From, class To>
__global__ void map(const From* x, long long count, bool packed, To* y) {
  constexpr int kCount = max(kPack<From>, kPack<To>);
  for_packs<kCount>(count, packed, [&](long long i, auto width) {
    auto values = load_pack<width.value>(x + i);
#pragma unroll
    for (int k = 0; k < width.value; ++k) values[k] = Function()(values[k]);
    store_pack(y + i, values);
  });
}

// y = Function(a, b).
template <class Function, class T>
__global__ void map_pairs(const T* a, const T* b, long long count, bool packed, T* y) {
  for_packs<kPack<T>>(count, packed, [&](long long i, auto width) {
    auto values = load_pack<width.value>(a + i);
    const auto others = load_pack<width.value>(b + i);
#pragma unroll
    for (int k = 0; k < width.value; ++k) values[k] = Function()(values[k], others[k]);
    store_pack(y + i, values);
  });
}

}  // namespace kw::cuda::device
