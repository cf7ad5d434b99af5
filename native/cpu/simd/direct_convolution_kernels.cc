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
void run_rows(const ConvolutionTile& tile) {
  Vector sums[Rows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      sums[r][v] = tile.bias ? load(tile.bias + v * kLanes) : Vector{};
      if (tile.accumulate) sums[r][v] += load(tile.outputs[r] + v * kLanes);
    }
  }
  const int64_t channels = tile.channels;
  for (int64_t t = 0; t < tile.taps; ++t) {
    const float* x[Rows];
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) x[r] = tile.inputs[t * Rows + r];
    const float* weight = tile.weights[t];
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
  const Vector least = Vector{} + tile.least, most = Vector{} + tile.most;
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      Vector value = sums[r][v];
      if (tile.factor) value = value * load(tile.factor + v * kLanes) + load(tile.shift + v * kLanes);
      const Vector above = least > value ? least : value;
      store(tile.outputs[r] + v * kLanes, most < above ? most : above);
    }
  }
}

void run(const ConvolutionTile& tile) {
  static constexpr void (*by_rows[])(const ConvolutionTile&) = {
#if defined(__AVX512F__)
      run_rows<1>, run_rows<2>, run_rows<3>, run_rows<4>,  run_rows<5>,  run_rows<6>,
      run_rows<7>, run_rows<8>, run_rows<9>, run_rows<10>, run_rows<11>, run_rows<12>,
#elif defined(__AVX2__)
      run_rows<1>, run_rows<2>, run_rows<3>, run_rows<4>, run_rows<5>, run_rows<6>,
#else
      run_rows<1>,
      run_rows<2>,
      run_rows<3>,
#endif
  };
  static_assert(sizeof(by_rows) / sizeof(by_rows[0]) == kRows);
  by_rows[tile.rows - 1](tile);
}

}  // namespace

const DirectConvolutionKernels& direct_convolution_kernels() {
  static constexpr DirectConvolutionKernels kernels = {kRows, run};
  return kernels;
}

}  // namespace kw::cpu::KW_SIMD_NAMESPACE
