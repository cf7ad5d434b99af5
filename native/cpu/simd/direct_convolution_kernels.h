// The inner loop of a direct convolution, compiled once for each instruction set.
#pragma once

#include <cstdint>

namespace kw::cpu {

struct DirectConvolutionKernels {
  int64_t rows;  // that `tile` takes at most

  // outputs[r][0..16) = bias[0..16) + sum over taps t and channels c of inputs[t * row_count + r][c] * weights[t][c][0..16) for r <
  // row_count; `bias` may be null.
  void (*tile)(int64_t row_count, int64_t taps, int64_t channels, const float* const* inputs, const float* const* weights,
               const float* bias, float* const* outputs);
};

namespace baseline {
const DirectConvolutionKernels& direct_convolution_kernels();
}
namespace avx2 {
const DirectConvolutionKernels& direct_convolution_kernels();
}
namespace avx512 {
const DirectConvolutionKernels& direct_convolution_kernels();
}

}  // namespace kw::cpu
