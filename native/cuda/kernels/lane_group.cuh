// A part of a warp, 2^k neighbouring lanes, that works on one row: rows may be shorter than a warp is wide.
#pragma once

#include "cuda/kernels/primitives.cuh"

namespace kw::cuda::device {

constexpr int kGroupThreads = 256;  // threads of a block whose groups take one row each

/** This thread's place when each group of `lanes` threads of a one-dimensional grid takes one row. */
struct LaneGroup {
  int lane, lanes;
  long long row;

  __device__ __forceinline__ explicit LaneGroup(int lanes)
      : lane(static_cast<int>(threadIdx.x) % lanes),
        lanes(lanes),
        row((static_cast<long long>(blockIdx.x) * kGroupThreads + static_cast<int>(threadIdx.x)) / lanes) {}

  /** The sum over the group, in every lane, added in the same order. All lanes of the warp take part. */
  template <class T>
  __device__ __forceinline__ T sum(T value) const {
    for (int distance = lanes / 2; distance > 0; distance /= 2) value += shuffle_xor(value, distance);
    return value;
  }

  /** The largest value of the group, in every lane; passes over NaN. All lanes of the warp take part. */
  __device__ __forceinline__ float largest(float value) const {
    for (int distance = lanes / 2; distance > 0; distance /= 2) value = fmaxf(value, shuffle_xor(value, distance));
    return value;
  }
};

}  // namespace kw::cuda::device
