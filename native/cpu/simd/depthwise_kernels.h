// The inner loop of the weight gradient of depth-wise convolutions, in which every channel is convolved by itself, compiled once for each
// instruction set. Activations are channels-last.
#pragma once

#include <cstdint>

namespace kw::cpu {

// The products of a row of x with a row of dy, each [columns, channels], at one position of the kernel: dweight[c] += sum over `count`
// columns of x[first_x + i * step, c] * dy[first_dy + i, c], for `channel_count` channels from `first_channel` on.
struct DepthwiseProduct {
  int64_t channels, first_channel, channel_count;
  const void *x, *dy;  // of float, or the bits of bfloat16
  int64_t first_x, first_dy, step, count;
  float* dweight;  // [channels]
};

struct DepthwiseKernels {
  void (*product)(const DepthwiseProduct& product);
  void (*product_bfloat16)(const DepthwiseProduct& product);
};

namespace baseline {
const DepthwiseKernels& depthwise_kernels();
}
namespace avx2 {
const DepthwiseKernels& depthwise_kernels();
}
namespace avx512 {
const DepthwiseKernels& depthwise_kernels();
}

// The best that this processor can run.
const DepthwiseKernels& depthwise_kernels();

}  // namespace kw::cpu
