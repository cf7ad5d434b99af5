// The normalization after a convolution as one factor and one summand for each channel, where another's kernel applies them.
#pragma once

#include "cuda/kernels/convolution_problem.cuh"

namespace kw::cuda::device {

/** normalization(sum + bias) = sum * scale + shift for each of `channels`. */
__global__ void __launch_bounds__(256) fold_normalization(ConvolutionEpilogue epilogue, int channels, float* scale, float* shift) {
  for (int o = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x); o < channels; o += static_cast<int>(gridDim.x * blockDim.x)) {
    const float2 channel = epilogue.channel(o);
    scale[o] = channel.x;
    shift[o] = channel.y;
  }
}

}  // namespace kw::cuda::device
