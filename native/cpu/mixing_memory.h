// How the operands of mixing lie in memory: sizes, and the packing of attention.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "cpu/bfloat16.h"

namespace kw::cpu {

inline int64_t blocks(int64_t count, int64_t block) { return (count + block - 1) / block; }
inline size_t float_bytes(int64_t count) { return (static_cast<size_t>(count) * sizeof(float) + 63) / 64 * 64; }
inline constexpr int64_t kTileElements = 512;  // of bfloat16
inline size_t tile_bytes(int64_t tiles) { return static_cast<size_t>(tiles * kTileElements) * sizeof(bfloat16); }

// [rows, terms] with the given strides to [row blocks][terms][row_block], as MixingKernels::combine wants its coefficients.
inline void pack_coefficients(const float* from, int64_t rows, int64_t row_stride, int64_t terms, int64_t term_stride, int64_t row_block,
                              float* to) {
  for (int64_t first = 0; first < rows; first += row_block) {
    const int64_t count = std::min(row_block, rows - first);
    for (int64_t t = 0; t < terms; ++t, to += row_block) {
      for (int64_t r = 0; r < count; ++r) to[r] = from[(first + r) * row_stride + t * term_stride];
    }
  }
}

// [rows, terms] with the given strides to [row tiles][term blocks][16 rows][32 terms], zero where there is nothing, as TileKernels want
// their first matrix.
inline void pack_tiles(const float* from, int64_t rows, int64_t row_stride, int64_t terms, int64_t term_stride, int64_t row_tiles,
                       int64_t term_blocks, uint16_t* to) {
  std::memset(to, 0, tile_bytes(row_tiles * term_blocks));
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t t = 0; t < terms; ++t) {
      const bfloat16 value(from[r * row_stride + t * term_stride]);
      to[((r / 16 * term_blocks + t / 32) * 16 + r % 16) * 32 + t % 32] = value.bits;
    }
  }
}

}  // namespace kw::cpu
