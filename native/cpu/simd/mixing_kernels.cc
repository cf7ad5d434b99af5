// Register-blocked loops in the compiler's vector types.
#include "cpu/simd/mixing_kernels.h"

#include "cpu/simd/vectors.h"

#if defined(__AVX512BF16__)
#include "cpu/simd/amx_tiles.h"
#include "cpu/simd/tile_kernels.h"
#endif

namespace kw::cpu::KW_SIMD_NAMESPACE {

namespace {

#if defined(__AVX512F__)
constexpr int kRowBlock = 12, kFirstBlock = 6, kSecondBlock = 4;
#elif defined(__AVX2__)
constexpr int kRowBlock = 6, kFirstBlock = 4, kSecondBlock = 3;
#else
constexpr int kRowBlock = 4, kFirstBlock = 4, kSecondBlock = 2;
#endif
constexpr int kVectors = 2;
constexpr int kPanel = kLanes * kVectors;

template <int Rows, bool kRounds, class Target>
void combine_rows(const float* coefficients, int64_t terms, const float* panels, int64_t panel_step, int64_t panel_count,
                  Target* const* rows, int64_t step, bool accumulate) {
  for (int64_t p = 0; p < panel_count; ++p) {
    const float* panel = panels + p * panel_step;
    Vector sums[Rows][kVectors];
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        sums[r][v] = Vector{};
        if constexpr (sizeof(Target) == sizeof(float)) {
          if (accumulate) sums[r][v] = load(rows[r] + p * step + v * kLanes);
        }
      }
    }
    for (int64_t t = 0; t < terms; ++t) {
      Vector values[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) values[v] = load(panel + t * kPanel + v * kLanes);
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r) {
        const float coefficient = coefficients[t * kRowBlock + r];
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) sums[r][v] += coefficient * values[v];
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) store(rows[r] + p * step + v * kLanes, kRounds ? kept(sums[r][v]) : sums[r][v]);
    }
  }
}

// Calls combine_rows<row_count>.
template <bool kRounds, class Target, int Rows = kRowBlock>
void combine_block(const float* coefficients, int64_t row_count, int64_t terms, const float* panels, int64_t panel_step,
                   int64_t panel_count, Target* const* rows, int64_t step, bool accumulate) {
  if constexpr (Rows > 0) {
    if (row_count == Rows) return combine_rows<Rows, kRounds>(coefficients, terms, panels, panel_step, panel_count, rows, step, accumulate);
    combine_block<kRounds, Target, Rows - 1>(coefficients, row_count, terms, panels, panel_step, panel_count, rows, step, accumulate);
  }
}

void combine(const float* coefficients, int64_t row_count, int64_t terms, const float* panels, int64_t panel_step, int64_t panel_count,
             float* const* rows, int64_t step, bool accumulate) {
  combine_block<false>(coefficients, row_count, terms, panels, panel_step, panel_count, rows, step, accumulate);
}

void combine_to_bfloat16(const float* coefficients, int64_t row_count, int64_t terms, const float* panels, int64_t panel_step,
                         int64_t panel_count, uint16_t* const* rows, int64_t step) {
  combine_block<false>(coefficients, row_count, terms, panels, panel_step, panel_count, rows, step, false);
}

void combine_rounded(const float* coefficients, int64_t row_count, int64_t terms, const float* panels, int64_t panel_step,
                     int64_t panel_count, float* const* rows, int64_t step) {
  combine_block<true>(coefficients, row_count, terms, panels, panel_step, panel_count, rows, step, false);
}

template <int First, int Second>
void correlate_block(const float* a, int64_t a_step, const float* b, int64_t b_rows, int64_t panel_count, float* products) {
  Vector sums[First][Second];
#pragma GCC unroll 8
  for (int r = 0; r < First; ++r) {
#pragma GCC unroll 8
    for (int j = 0; j < Second; ++j) sums[r][j] = load(products + (r * b_rows + j) * kLanes);
  }
  for (int64_t p = 0; p < panel_count; ++p) {
    const float* first = a + p * a_step;
    const float* second = b + p * b_rows * kPanel;
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      Vector values[Second];
#pragma GCC unroll 8
      for (int j = 0; j < Second; ++j) values[j] = load(second + j * kPanel + v * kLanes);
#pragma GCC unroll 8
      for (int r = 0; r < First; ++r) {
        const Vector value = load(first + r * kPanel + v * kLanes);
#pragma GCC unroll 8
        for (int j = 0; j < Second; ++j) sums[r][j] += value * values[j];
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < First; ++r) {
#pragma GCC unroll 8
    for (int j = 0; j < Second; ++j) store(products + (r * b_rows + j) * kLanes, sums[r][j]);
  }
}

template <int First>
void correlate_rows(const float* a, int64_t a_step, const float* b, int64_t b_rows, int64_t panel_count, float* products) {
  int64_t j = 0;
  for (; j + kSecondBlock <= b_rows; j += kSecondBlock) {
    correlate_block<First, kSecondBlock>(a, a_step, b + j * kPanel, b_rows, panel_count, products + j * kLanes);
  }
  for (; j < b_rows; ++j) correlate_block<First, 1>(a, a_step, b + j * kPanel, b_rows, panel_count, products + j * kLanes);
}

void correlate(const float* a, int64_t a_rows, int64_t a_step, const float* b, int64_t b_rows, int64_t panel_count, float* products) {
  int64_t r = 0;
  for (; r + kFirstBlock <= a_rows; r += kFirstBlock) {
    correlate_rows<kFirstBlock>(a + r * kPanel, a_step, b, b_rows, panel_count, products + r * b_rows * kLanes);
  }
  for (; r < a_rows; ++r) correlate_rows<1>(a + r * kPanel, a_step, b, b_rows, panel_count, products + r * b_rows * kLanes);
}

}  // namespace

const MixingKernels& mixing_kernels() {
#if defined(__AVX512BF16__)
  static_assert(kPanel == TileProducts<Tiles>::kPanelWidth);
  constexpr const TileKernels* tiles = &TileProducts<Tiles>::kernels;
#else
  constexpr const TileKernels* tiles = nullptr;
#endif
  static constexpr MixingKernels kernels = {kPanel, kRowBlock, kLanes, combine, combine_to_bfloat16, combine_rounded, correlate, tiles};
  return kernels;
}

}  // namespace kw::cpu::KW_SIMD_NAMESPACE
