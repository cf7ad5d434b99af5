// How the operands of mixing lie in memory: sizes and places.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/bfloat16.h"

namespace kw::cpu {

inline int64_t blocks(int64_t count, int64_t block) { return (count + block - 1) / block; }
inline size_t float_bytes(int64_t count) { return (static_cast<size_t>(count) * sizeof(float) + 63) / 64 * 64; }
inline constexpr int64_t kTileElements = 512;  // of bfloat16
inline size_t tile_bytes(int64_t tiles) { return static_cast<size_t>(tiles * kTileElements) * sizeof(bfloat16); }

// Where element (row, term) of a matrix lies that MixingKernels::combine takes as coefficients: [row blocks][terms][row_block].
inline size_t coefficient_place(int64_t row, int64_t term, int64_t terms, int64_t row_block) {
  const auto short_row = static_cast<uint32_t>(row), short_block = static_cast<uint32_t>(row_block);  // much faster to divide
  return static_cast<size_t>((short_row / short_block * terms + term) * row_block + short_row % short_block);
}
// The same for the first matrix of TileKernels: [row tiles][term blocks][16 rows][32 terms].
inline size_t tile_place(int64_t row, int64_t term, int64_t term_blocks) {
  return static_cast<size_t>(((row / 16 * term_blocks + term / 32) * 16 + row % 16) * 32 + term % 32);
}

}  // namespace kw::cpu
