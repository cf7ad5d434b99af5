// Register-blocked loops in the compiler's vector types. No standard header here: an inline function compiled for a newer instruction set
// could be the one that the linker keeps for everybody.
#include "cpu/simd/mixing_kernels.h"

namespace kw::cpu::KW_SIMD_NAMESPACE {

namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16, kRowBlock = 12, kFirstBlock = 6, kSecondBlock = 4;
#elif defined(__AVX2__)
constexpr int kLanes = 8, kRowBlock = 6, kFirstBlock = 4, kSecondBlock = 3;
#else
constexpr int kLanes = 4, kRowBlock = 4, kFirstBlock = 4, kSecondBlock = 2;
#endif
constexpr int kVectors = 2;
constexpr int kPanel = kLanes * kVectors;

typedef float Vector __attribute__((vector_size(kLanes * sizeof(float))));
typedef float UnalignedVector __attribute__((vector_size(kLanes * sizeof(float)), aligned(4), may_alias));
typedef uint32_t Words __attribute__((vector_size(kLanes * sizeof(uint32_t))));
typedef uint16_t Halves __attribute__((vector_size(kLanes * sizeof(uint16_t))));
typedef uint16_t UnalignedHalves __attribute__((vector_size(kLanes * sizeof(uint16_t)), aligned(2), may_alias));

inline Vector load(const float* from) { return *reinterpret_cast<const UnalignedVector*>(from); }
inline void store(float* to, Vector value) { *reinterpret_cast<UnalignedVector*>(to) = value; }
// Rounds to nearest, ties to even; the NaNs that arithmetic makes stay NaNs.
inline void store(uint16_t* to, Vector value) {
  const auto words = reinterpret_cast<Words>(value);
  const Words rounded = (words + 0x7fff + (words >> 16 & 1)) >> 16;
  *reinterpret_cast<UnalignedHalves*>(to) = __builtin_convertvector(rounded, Halves);
}

template <int Rows, class Target>
void combine_rows(const float* coefficients, int64_t terms, const float* panels, int64_t panel_count, Target* const* rows, int64_t step,
                  bool accumulate) {
  for (int64_t p = 0; p < panel_count; ++p) {
    const float* panel = panels + p * terms * kPanel;
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
      for (int v = 0; v < kVectors; ++v) store(rows[r] + p * step + v * kLanes, sums[r][v]);
    }
  }
}

// Calls combine_rows<row_count>.
template <class Target, int Rows = kRowBlock>
void combine_block(const float* coefficients, int64_t row_count, int64_t terms, const float* panels, int64_t panel_count,
                   Target* const* rows, int64_t step, bool accumulate) {
  if constexpr (Rows > 0) {
    if (row_count == Rows) return combine_rows<Rows>(coefficients, terms, panels, panel_count, rows, step, accumulate);
    combine_block<Target, Rows - 1>(coefficients, row_count, terms, panels, panel_count, rows, step, accumulate);
  }
}

void combine(const float* coefficients, int64_t row_count, int64_t terms, const float* panels, int64_t panel_count, float* const* rows,
             int64_t step, bool accumulate) {
  combine_block(coefficients, row_count, terms, panels, panel_count, rows, step, accumulate);
}

void combine_to_bfloat16(const float* coefficients, int64_t row_count, int64_t terms, const float* panels, int64_t panel_count,
                         uint16_t* const* rows, int64_t step) {
  combine_block(coefficients, row_count, terms, panels, panel_count, rows, step, false);
}

template <int First, int Second>
void correlate_block(const float* a, int64_t a_rows, const float* b, int64_t b_rows, int64_t panel_count, float* products) {
  Vector sums[First][Second];
#pragma GCC unroll 8
  for (int r = 0; r < First; ++r) {
#pragma GCC unroll 8
    for (int j = 0; j < Second; ++j) sums[r][j] = load(products + (r * b_rows + j) * kLanes);
  }
  for (int64_t p = 0; p < panel_count; ++p) {
    const float* first = a + p * a_rows * kPanel;
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
void correlate_rows(const float* a, int64_t a_rows, const float* b, int64_t b_rows, int64_t panel_count, float* products) {
  int64_t j = 0;
  for (; j + kSecondBlock <= b_rows; j += kSecondBlock) {
    correlate_block<First, kSecondBlock>(a, a_rows, b + j * kPanel, b_rows, panel_count, products + j * kLanes);
  }
  for (; j < b_rows; ++j) correlate_block<First, 1>(a, a_rows, b + j * kPanel, b_rows, panel_count, products + j * kLanes);
}

void correlate(const float* a, int64_t a_rows, const float* b, int64_t b_rows, int64_t panel_count, float* products) {
  int64_t r = 0;
  for (; r + kFirstBlock <= a_rows; r += kFirstBlock) {
    correlate_rows<kFirstBlock>(a + r * kPanel, a_rows, b, b_rows, panel_count, products + r * b_rows * kLanes);
  }
  for (; r < a_rows; ++r) correlate_rows<1>(a + r * kPanel, a_rows, b, b_rows, panel_count, products + r * b_rows * kLanes);
}

}  // namespace

const MixingKernels& mixing_kernels() {
  static constexpr MixingKernels kernels = {kPanel, kRowBlock, kLanes, combine, combine_to_bfloat16, correlate};
  return kernels;
}

}  // namespace kw::cpu::KW_SIMD_NAMESPACE
