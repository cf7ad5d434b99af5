// What the forward and the backward of batch normalization share on the host.
#pragma once

#include "cuda/device.h"
#include "cuda/kernels/channel_factors.cuh"
#include "cuda/normalization/column_grid.h"
#include "ops/normalization.h"

namespace kw::cuda {

// Up to here a block takes all rows of its channels, in one launch.
constexpr int64_t kFewRows = 1024;

inline device::NormActivation norm_activation(Activation activation) {
  switch (activation) {
    case Activation::relu:
      return device::NormActivation::relu;
    case Activation::relu6:
      return device::NormActivation::relu6;
    case Activation::none:
      break;
  }
  return device::NormActivation::none;
}

/** A grid whose blocks have all rows of their channels: few lanes, so that there are many rows at once and many blocks. */
inline ColumnGrid grid_of_few_rows(Matrix matrix, int count) { return ColumnGrid(matrix, count, count == 1 ? 16 : 4, 1); }

void add_batch_norm_backward(KernelRegistry& registry, const Device& gpu);

}  // namespace kw::cuda
