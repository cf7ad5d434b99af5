// Axes of a tensor that a kernel walks over: sizes, and distances between neighbours in some array.
#pragma once

#include "cuda/kernels/primitives.cuh"

namespace kw::cuda::device {

constexpr int kMostAxes = 8;

// Outermost first.
struct Axes {
  int count = 0;
  long long sizes[kMostAxes] = {};
  long long strides[kMostAxes] = {};

  // Where the `index`th place is, counted row-major.
  __host__ __device__ __forceinline__ long long offset(long long index) const {
    long long offset = 0;
    for (int axis = count - 1; axis > 0; --axis) {
      const long long rows = index / sizes[axis];
      offset += (index - rows * sizes[axis]) * strides[axis];
      index = rows;
    }
    return count > 0 ? offset + index * strides[0] : offset;
  }
};

}  // namespace kw::cuda::device
