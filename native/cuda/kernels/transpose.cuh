// The axes of a tensor in another order.
#pragma once

#include "cuda/kernels/axes.cuh"
#include "cuda/kernels/pack.cuh"

namespace kw::cuda::device {

// y from x; `axes` are those of y, with strides in x. Units of any size are moved as they are.
template <class Unit>
__global__ void transpose(const Unit* x, Axes axes, long long count, Unit* y) {
  for_packs<1>(count, false, [&](long long i, auto) { y[i] = x[axes.offset(i)]; });
}

}  // namespace kw::cuda::device
