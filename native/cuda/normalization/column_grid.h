// How the blocks of a pass over [rows, channels] divide the matrix: along the channels, and in parts of the rows.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "cuda/kernels/column_sums.cuh"
#include "ops/checks.h"

namespace kw::cuda {

// Blocks of a pass over a large matrix. Not a GPU's own number: sums are to have the same bits on all of them. Sums have fewer, because
// their parts are read again.
constexpr int64_t kSumBlocks = 256;
constexpr int64_t kPassBlocks = 1024;

struct ColumnGrid {
  device::Columns columns;
  int64_t parts;  // of the rows

  /** For threads of `count` channels each, at most `most_lanes` (a power of two) of them side by side, and at most about `most_blocks`
   * blocks. */
  ColumnGrid(Matrix matrix, int count, int most_lanes, int64_t most_blocks)
      : columns{matrix.rows, static_cast<int>(matrix.channels), 1}, parts(1) {
    while (columns.lanes < most_lanes && int64_t{columns.lanes} * count < matrix.channels) columns.lanes *= 2;
    groups_ = (matrix.channels + int64_t{columns.lanes} * count - 1) / (int64_t{columns.lanes} * count);
    const int64_t rows_at_once = 4 * device::kColumnThreads / columns.lanes;
    parts = std::clamp<int64_t>(most_blocks / groups_, 1, (matrix.rows + rows_at_once - 1) / rows_at_once);
  }

  dim3 blocks() const { return dim3(static_cast<unsigned>(groups_), static_cast<unsigned>(parts)); }
  // Of two doubles for each channel and part.
  size_t part_bytes() const { return static_cast<size_t>(parts * columns.channels) * 2 * sizeof(double); }

 private:
  int64_t groups_;
};

/** The grid of finish_... kernels: one thread for each channel, and the parts as rows. */
inline ColumnGrid grid_of_parts(int64_t parts, int64_t channels) { return ColumnGrid({parts, channels}, 1, 8, 1); }

}  // namespace kw::cuda
