// How many lanes take a row, and how many blocks all rows: see kernels/lane_group.cuh.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/kernels/lane_group.cuh"

namespace kw::cuda {

struct LaneGrid {
  int lanes = 1;

  /** For rows of `length` values, of which a lane takes `count` at once. */
  LaneGrid(int64_t rows, int64_t length, int count) : rows_(rows) {
    while (lanes < device::kWarpSize && int64_t{lanes} * count < length) lanes *= 2;
  }

  dim3 blocks() const {
    const int64_t rows_of_block = device::kGroupThreads / lanes;
    return dim3(static_cast<unsigned>((rows_ + rows_of_block - 1) / rows_of_block));
  }

 private:
  int64_t rows_;
};

}  // namespace kw::cuda
