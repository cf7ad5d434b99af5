// Ops that treat every element alike.
#pragma once

#include "cuda/kernels/primitives.cuh"

namespace kw::cuda::device {

// y = a + b; one thread for each element and stride of the grid. An output may be an input's memory.
template <class T>
__global__ void add(const T* a, const T* b, long long count, T* y) {
  const long long stride = static_cast<long long>(gridDim.x) * blockDim.x;
  for (long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += stride) {
    store_as(y + i, to_float(a[i]) + to_float(b[i]));
  }
}

}  // namespace kw::cuda::device
