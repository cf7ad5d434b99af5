// Register-blocked loops in the compiler's vector types.
#include "cpu/simd/weight_gradient_kernels.h"

#include "cpu/simd/vectors.h"

namespace kw::cpu::KW_SIMD_NAMESPACE {

namespace {

#if defined(__AVX512F__)
constexpr int kRows = 16;
#elif defined(__AVX2__)
constexpr int kRows = 6;
#else
constexpr int kRows = 3;
#endif
constexpr int kChannels = 16;
constexpr int kVectors = kChannels / kLanes;

// Output channels First.. of the tile.
template <int First, int Rows>
void run_rows(const WeightGradientTile& tile) {
  float* dweight = tile.dweight + First * tile.dweight_row;
  Vector sums[Rows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sums[r][v] = tile.accumulate ? load(dweight + r * tile.dweight_row + v * kLanes) : Vector{};
  }
  for (int64_t row = 0; row < tile.rows; ++row) {
    const float* x = tile.x + row * tile.x_row;
    const float* dy = tile.dy + row * tile.dy_row + First;
    for (int64_t column = 0; column < tile.columns; ++column, x += tile.x_column, dy += kChannels) {
      Vector values[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) values[v] = load(x + v * kLanes);
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) sums[r][v] += dy[r] * values[v];
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) store(dweight + r * tile.dweight_row + v * kLanes, sums[r][v]);
  }
}

template <int First = 0>
void run(const WeightGradientTile& tile) {
  if constexpr (First < kChannels) {
    constexpr int kLeft = kChannels - First;
    run_rows<First, (kLeft < kRows ? kLeft : kRows)>(tile);
    run<First + kRows>(tile);
  }
}

}  // namespace

const WeightGradientKernels& weight_gradient_kernels() {
  static constexpr WeightGradientKernels kernels = {run<0>};
  return kernels;
}

}  // namespace kw::cpu::KW_SIMD_NAMESPACE
