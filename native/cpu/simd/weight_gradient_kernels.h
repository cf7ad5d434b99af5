// The inner loop of a weight gradient, compiled once for each instruction set.
#pragma once

#include <cstdint>

namespace kw::cpu {

// One tile, of 16 input and 16 output channels at one position of a kernel: dweight[i][o], [16,16], is, or grows by with `accumulate`, the
// sum over `rows` and `columns` of x[row * x_row + column * x_column + i] * dy[row * dy_row + column * 16 + o].
struct WeightGradientTile {
  int64_t rows, columns;
  const float *x, *dy;
  int64_t x_row, x_column, dy_row;
  bool accumulate;
  float* dweight;
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
