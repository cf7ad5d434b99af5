// A kernel for testing the emulator: a product of matrices on bfloat16 with a pipeline of asynchronous copies. Each of its steps can be
// left out.
#pragma once

#include "cuda/kernels/primitives.cuh"

namespace kw::cuda::test {

enum class Mistake { none, no_wait, no_barrier };

struct SampleMixing {
  const device::bfloat16* attention;  // [rows, stride]
  const device::bfloat16* cells;      // [count, columns]
  float* weights;                     // [rows, columns]
  int rows;
  int count;    // of cells
  int stride;   // of the attention's rows: `count` rounded up to a multiple of 8; zeros past it
  int columns;  // a multiple of 8
};

constexpr int kSampleRows = 32;     // of a block's tile
constexpr int kSampleColumns = 64;  // of a block's tile
constexpr int kSampleDepth = 16;    // of a stage
constexpr int kSampleStages = 3;
constexpr int kSampleThreads = 64;
constexpr int kSamplePadding = 8;  // elements after each row in shared memory, so that load_matrix meets no bank twice
constexpr int kSampleStage = kSampleRows * (kSampleDepth + kSamplePadding) + kSampleDepth * (kSampleColumns + kSamplePadding);
constexpr int kSampleSharedBytes = kSampleStages * kSampleStage * 2;

/** weights = attention * cells. Grid: (columns / 64, rows / 32), both rounded up. Each of two warps does 16 rows. */
template <Mistake kMistake>
__global__ void __launch_bounds__(kSampleThreads) sample_mixing(SampleMixing p) {
  using namespace device;
  constexpr int kAttentionRow = kSampleDepth + kSamplePadding;
  constexpr int kCellRow = kSampleColumns + kSamplePadding;
  constexpr int kColumnTiles = kSampleColumns / 8;
  auto* stages = reinterpret_cast<bfloat16*>(dynamic_shared());
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % kWarpSize;
  const int warp = thread / kWarpSize;
  const int first_row = static_cast<int>(blockIdx.y) * kSampleRows;
  const int first_column = static_cast<int>(blockIdx.x) * kSampleColumns;
  const int steps = ceil_divide(p.count, kSampleDepth);

  const auto load = [&](int step) {
    bfloat16* attention = stages + step % kSampleStages * kSampleStage;
    bfloat16* cells = attention + kSampleRows * kAttentionRow;
    for (int i = thread; i < kSampleRows * kSampleDepth / 8; i += kSampleThreads) {
      const int row = i / (kSampleDepth / 8);
      const int k = i % (kSampleDepth / 8) * 8;
      const bool valid = first_row + row < p.rows && step * kSampleDepth + k < p.stride;
      copy_async_16(attention + row * kAttentionRow + k,
                    valid ? p.attention + (first_row + row) * p.stride + step * kSampleDepth + k : p.attention, valid);
    }
    for (int i = thread; i < kSampleDepth * kSampleColumns / 8; i += kSampleThreads) {
      const int k = i / (kSampleColumns / 8);
      const int column = i % (kSampleColumns / 8) * 8;
      const bool valid = step * kSampleDepth + k < p.count && first_column + column < p.columns;
      copy_async_16(cells + k * kCellRow + column,
                    valid ? p.cells + (step * kSampleDepth + k) * p.columns + first_column + column : p.cells, valid);
    }
  };

  float sums[1][kColumnTiles][4] = {};
  for (int step = 0; step < kSampleStages - 1; ++step) {
    if (step < steps) load(step);
    commit_copies();
  }
  for (int step = 0; step < steps; ++step) {
    if constexpr (kMistake != Mistake::no_wait) wait_copies<kSampleStages - 2>();
    if constexpr (kMistake != Mistake::no_barrier) syncthreads();
    if (step + kSampleStages - 1 < steps) load(step + kSampleStages - 1);
    commit_copies();
    const bfloat16* attention = stages + step % kSampleStages * kSampleStage;
    const bfloat16* cells = attention + kSampleRows * kAttentionRow;
    std::uint32_t a[1][4];
    std::uint32_t b[kColumnTiles][2];
    load_matrix_x4(a[0], attention + (warp * 16 + lane % 16) * kAttentionRow + lane / 16 * 8);
#pragma unroll
    for (int tile = 0; tile < kColumnTiles; tile += 2) {
      std::uint32_t pair[4];
      load_matrix_x4_transposed(pair, cells + lane % 16 * kCellRow + tile * 8 + lane / 16 * 8);
      b[tile][0] = pair[0];
      b[tile][1] = pair[1];
      b[tile + 1][0] = pair[2];
      b[tile + 1][1] = pair[3];
    }
    multiply_tile(sums, a, b);
  }
#pragma unroll
  for (int tile = 0; tile < kColumnTiles; ++tile) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = first_row + warp * 16 + half * 8 + lane / 4;
      const int column = first_column + tile * 8 + lane % 4 * 2;
      if (row < p.rows && column < p.columns) {
        store_vector(p.weights + row * p.columns + column, make_float2(sums[0][tile][half * 2], sums[0][tile][half * 2 + 1]));
      }
    }
  }
}

}  // namespace kw::cuda::test
