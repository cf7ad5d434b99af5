// Mixing with matrix tiles. `Tiles` is the processor's (simd/amx_tiles.h) or an emulation; it configures eight tiles of 16 rows of 64
// bytes.
#pragma once

#include "cpu/simd/mixing_kernels.h"
#include "cpu/simd/vectors.h"

namespace kw::cpu::KW_SIMD_NAMESPACE {

template <class Tiles>
struct TileProducts {
  static constexpr int kRows = 16, kRowBytes = 64;
  static constexpr int64_t kTile = 512;       // bfloat16 elements of a tile
  static constexpr int64_t kSumTile = 256;    // float elements
  static constexpr int64_t kPanelWidth = 32;  // columns

  // Tiles 0 to 3 are sums, [row tile][column tile]; 4 and 5 the first matrix, 6 and 7 the second.
  template <int kRowTiles>
  static void zero_sums() {
    Tiles::template zero<0>();
    Tiles::template zero<1>();
    if constexpr (kRowTiles == 2) {
      Tiles::template zero<2>();
      Tiles::template zero<3>();
    }
  }
  template <int kRowTiles>
  static void load_sums(const float* from, int64_t row_elements) {
    const int64_t stride = row_elements * static_cast<int64_t>(sizeof(float));
    Tiles::template load<0>(from, stride);
    Tiles::template load<1>(from + 16, stride);
    if constexpr (kRowTiles == 2) {
      Tiles::template load<2>(from + kRows * row_elements, stride);
      Tiles::template load<3>(from + kRows * row_elements + 16, stride);
    }
  }
  template <int kRowTiles>
  static void store_sums(float* to, int64_t row_elements) {
    const int64_t stride = row_elements * static_cast<int64_t>(sizeof(float));
    Tiles::template store<0>(to, stride);
    Tiles::template store<1>(to + 16, stride);
    if constexpr (kRowTiles == 2) {
      Tiles::template store<2>(to + kRows * row_elements, stride);
      Tiles::template store<3>(to + kRows * row_elements + 16, stride);
    }
  }

  // sums += a * b over `blocks` tiles, which lie a_step and b_step apart; the second row tile of a at `second`.
  template <int kRowTiles>
  static void multiply(const uint16_t* a, int64_t second, int64_t a_step, const uint16_t* b, int64_t b_step, int64_t blocks) {
    for (int64_t k = 0; k < blocks; ++k) {
      Tiles::template load<6>(b + k * b_step, kRowBytes);
      Tiles::template load<4>(a + k * a_step, kRowBytes);
      Tiles::template multiply<0, 4, 6>();
      Tiles::template load<7>(b + k * b_step + kTile, kRowBytes);
      Tiles::template multiply<1, 4, 7>();
      if constexpr (kRowTiles == 2) {
        Tiles::template load<5>(a + k * a_step + second, kRowBytes);
        Tiles::template multiply<2, 5, 6>();
        Tiles::template multiply<3, 5, 7>();
      }
    }
  }

  template <int kRowTiles>
  static void combine_rows(const uint16_t* a, int64_t row_count, int64_t term_blocks, const uint16_t* b, int64_t panel_count,
                           uint16_t* const* rows, int64_t step) {
    alignas(64) float sums[kRowTiles * kRows * kPanelWidth];
    for (int64_t p = 0; p < panel_count; ++p) {
      zero_sums<kRowTiles>();
      multiply<kRowTiles>(a, term_blocks * kTile, kTile, b + p * term_blocks * 2 * kTile, 2 * kTile, term_blocks);
      store_sums<kRowTiles>(sums, kPanelWidth);
      for (int64_t r = 0; r < row_count; ++r) {
        uint16_t* to = rows[r] + p * step;
#pragma GCC unroll 8
        for (int c = 0; c < kPanelWidth; c += kLanes) store(to + c, load(sums + r * kPanelWidth + c));
      }
    }
  }

  static void combine(const uint16_t* a, int64_t row_count, int64_t term_blocks, const uint16_t* b, int64_t panel_count,
                      uint16_t* const* rows, int64_t step) {
    Tiles::configure();
    if (row_count > kRows) {
      combine_rows<2>(a, row_count, term_blocks, b, panel_count, rows, step);
    } else {
      combine_rows<1>(a, row_count, term_blocks, b, panel_count, rows, step);
    }
    Tiles::release();
  }

  template <int kRowTiles>
  static void accumulate_rows(const uint16_t* a, int64_t term_blocks, const uint16_t* b, float* sums, bool accumulate) {
    if (accumulate) {
      load_sums<kRowTiles>(sums, kPanelWidth);
    } else {
      zero_sums<kRowTiles>();
    }
    multiply<kRowTiles>(a, term_blocks * kTile, kTile, b, 2 * kTile, term_blocks);
    store_sums<kRowTiles>(sums, kPanelWidth);
  }

  static void accumulate(const uint16_t* a, int64_t row_tiles, int64_t term_blocks, const uint16_t* b, int64_t panel_count, float* sums,
                         bool accumulate) {
    Tiles::configure();
    for (int64_t p = 0; p < panel_count; ++p) {
      const uint16_t* panel = b + p * term_blocks * 2 * kTile;
      float* to = sums + p * row_tiles * kRows * kPanelWidth;
      int64_t tile = 0;
      for (; tile + 2 <= row_tiles; tile += 2) {
        accumulate_rows<2>(a + tile * term_blocks * kTile, term_blocks, panel, to + tile * kRows * kPanelWidth, accumulate);
      }
      if (tile < row_tiles) {
        accumulate_rows<1>(a + tile * term_blocks * kTile, term_blocks, panel, to + tile * kRows * kPanelWidth, accumulate);
      }
    }
    Tiles::release();
  }

  // One or two row tiles with one or two column tiles.
  template <int kRowTiles>
  static void correlate_rows(const uint16_t* a, int64_t row_tiles, const uint16_t* b, int64_t column_tiles, int64_t panel_count,
                             float* products) {
    const int64_t columns = column_tiles * 16;
    int64_t tile = 0;
    for (; tile + 2 <= column_tiles; tile += 2) {
      load_sums<kRowTiles>(products + tile * 16, columns);
      multiply<kRowTiles>(a, kTile, row_tiles * kTile, b + tile * kTile, column_tiles * kTile, panel_count);
      store_sums<kRowTiles>(products + tile * 16, columns);
    }
    if (tile == column_tiles) return;
    const int64_t stride = columns * static_cast<int64_t>(sizeof(float));
    for (int64_t r = 0; r < kRowTiles; ++r) {
      float* sums = products + r * kRows * columns + tile * 16;
      Tiles::template load<0>(sums, stride);
      for (int64_t p = 0; p < panel_count; ++p) {
        Tiles::template load<4>(a + (p * row_tiles + r) * kTile, kRowBytes);
        Tiles::template load<6>(b + (p * column_tiles + tile) * kTile, kRowBytes);
        Tiles::template multiply<0, 4, 6>();
      }
      Tiles::template store<0>(sums, stride);
    }
  }

  static void correlate(const uint16_t* a, int64_t row_tiles, const uint16_t* b, int64_t column_tiles, int64_t panel_count,
                        float* products) {
    Tiles::configure();
    const int64_t columns = column_tiles * 16;
    int64_t tile = 0;
    for (; tile + 2 <= row_tiles; tile += 2) {
      correlate_rows<2>(a + tile * kTile, row_tiles, b, column_tiles, panel_count, products + tile * kRows * columns);
    }
    if (tile < row_tiles) correlate_rows<1>(a + tile * kTile, row_tiles, b, column_tiles, panel_count, products + tile * kRows * columns);
    Tiles::release();
  }

  static void gather(const float* const* rows, int64_t row_count, int64_t step, int64_t panel_count, uint16_t* tiles, uint16_t* pairs) {
    const int64_t blocks = (row_count + 31) / 32;
    for (int64_t p = 0; p < panel_count; ++p) {
      for (int64_t r = 0; r < blocks * 32; r += 2) {
        uint16_t* row = tiles + (p * blocks * 2 + r / 16) * kTile + r % 16 * kPanelWidth;
        for (int c = 0; c < kPanelWidth; c += kLanes) {
          const Vector first = r < row_count ? load(rows[r] + p * step + c) : Vector{};
          const Vector second = r + 1 < row_count ? load(rows[r + 1] + p * step + c) : Vector{};
          const Halves first_half = rounded(first), second_half = rounded(second);
          *reinterpret_cast<UnalignedHalves*>(row + c) = first_half;
          *reinterpret_cast<UnalignedHalves*>(row + kPanelWidth + c) = second_half;
          uint16_t* pair = pairs + ((p * blocks + r / 32) * 2 + c / 16) * kTile + r % 32 * 16 + c % 16 * 2;
          *reinterpret_cast<UnalignedWords*>(pair) =
              __builtin_convertvector(first_half, Words) | __builtin_convertvector(second_half, Words) << 16;
        }
      }
    }
  }

  static constexpr TileKernels kernels = {combine, accumulate, correlate, gather};
};

}  // namespace kw::cpu::KW_SIMD_NAMESPACE
