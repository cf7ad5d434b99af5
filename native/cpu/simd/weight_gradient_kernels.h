// The inner loop of a weight gradient, compiled once for each instruction set.
#pragma once

#include <cstdint>

namespace kw::cpu {

// One tile, of 16 output and 16 input channels at one position of a kernel: dweight[o * dweight_row + i] is, or grows by with `accumulate`,
// the sum over `rows` and `columns` of dy[row * dy_row + column * 16 + o] * x[row * x_row + column * x_column + i].
struct WeightGradientTile {
  int64_t rows, columns;
  const float *x, *dy;
  int64_t x_row, x_column, dy_row;
  bool accumulate;
  float* dweight;
  int64_t dweight_row;
};

struct WeightGradientKernels {
  void (*run)(const WeightGradientTile& tile);
};

namespace baseline {
const WeightGradientKernels& weight_gradient_kernels();
}
namespace avx2 {
const WeightGradientKernels& weight_gradient_kernels();
}
namespace avx512 {
const WeightGradientKernels& weight_gradient_kernels();
}

}  // namespace kw::cpu
