// The inner loop of a direct convolution, compiled once for each instruction set.
#pragma once

#include <cstdint>

namespace kw::cpu {

// One tile: a few positions of 16 output channels. outputs[r][0..16) = limited(sums * factor[0..16) + shift[0..16)) for r < rows,
// where sums are over taps t and channels c of inputs[t * rows + r][c] * weights[t][c][0..16), and start from bias[0..16) plus, with
// `accumulate`, what outputs[r] held. Bias may be null, and factor with shift.
struct ConvolutionTile {
  int64_t rows, taps, channels;
  const float* const* inputs;
  const float* const* weights;
  const float* bias;
  const float* factor;
  const float* shift;
  bool accumulate;
  float least, most;  // a NaN passes
  float* const* outputs;
};

struct DirectConvolutionKernels {
  int64_t rows;  // of a tile at most
  void (*run)(const ConvolutionTile& tile);
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
