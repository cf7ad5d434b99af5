// Register-blocked loops in the compiler's vector types. No standard header here: an inline function compiled for a newer instruction set
// could be the one that the linker keeps for everybody.
#include "cpu/simd/direct_convolution_kernels.h"

namespace kw::cpu::KW_SIMD_NAMESPACE {

namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16, kRows = 12;
#elif defined(__AVX2__)
constexpr int kLanes = 8, kRows = 6;
#else
constexpr int kLanes = 4, kRows = 3;
#endif
constexpr int kPanel = 16;
constexpr int kVectors = kPanel / kLanes;

typedef float Vector __attribute__((vector_size(kLanes * sizeof(float))));
typedef float UnalignedVector __attribute__((vector_size(kLanes * sizeof(float)), aligned(4), may_alias));

inline Vector load(const float* from) { return *reinterpret_cast<const UnalignedVector*>(from); }
inline void store(float* to, Vector value) { *reinterpret_cast<UnalignedVector*>(to) = value; }

template <int Rows>
void tile_of_rows(int64_t taps, int64_t channels, const float* const* inputs, const float* const* weights, const float* bias,
                  float* const* outputs) {
  Vector sums[Rows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sums[r][v] = bias ? load(bias + v * kLanes) : Vector{};
  }
  for (int64_t t = 0; t < taps; ++t) {
    const float* x[Rows];
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) x[r] = inputs[t * Rows + r];
    const float* weight = weights[t];
    for (int64_t c = 0; c < channels; ++c) {
      Vector values[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) values[v] = load(weight + c * kPanel + v * kLanes);
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) sums[r][v] += x[r][c] * values[v];
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) store(outputs[r] + v * kLanes, sums[r][v]);
  }
}

using TileOfRows = void (*)(int64_t, int64_t, const float* const*, const float* const*, const float*, float* const*);

void tile(int64_t row_count, int64_t taps, int64_t channels, const float* const* inputs, const float* const* weights, const float* bias,
          float* const* outputs) {
#if defined(__AVX512F__)
  static constexpr TileOfRows by_rows[] = {tile_of_rows<1>, tile_of_rows<2>,  tile_of_rows<3>,  tile_of_rows<4>,
                                           tile_of_rows<5>, tile_of_rows<6>,  tile_of_rows<7>,  tile_of_rows<8>,
                                           tile_of_rows<9>, tile_of_rows<10>, tile_of_rows<11>, tile_of_rows<12>};
#elif defined(__AVX2__)
  static constexpr TileOfRows by_rows[] = {tile_of_rows<1>, tile_of_rows<2>, tile_of_rows<3>,
                                           tile_of_rows<4>, tile_of_rows<5>, tile_of_rows<6>};
#else
  static constexpr TileOfRows by_rows[] = {tile_of_rows<1>, tile_of_rows<2>, tile_of_rows<3>};
#endif
  static_assert(sizeof(by_rows) / sizeof(by_rows[0]) == kRows);
  by_rows[row_count - 1](taps, channels, inputs, weights, bias, outputs);
}

}  // namespace

const DirectConvolutionKernels& direct_convolution_kernels() {
  static constexpr DirectConvolutionKernels kernels = {kRows, tile};
  return kernels;
}

}  // namespace kw::cpu::KW_SIMD_NAMESPACE
