// The gradients of depth-wise weights of samples with weights of their own, for large kernels, by a kernel of ours: from 7x7 on oneDNN 2.6
// computes them as if every channel were a block of sixteen (measured on AVX2: 3 to 10 times as long as this).
#pragma once

#include <memory>

#include "cpu/convolution/sample_convolution.h"

namespace kw::cpu {

// Whether this is for such a convolution: two spatial dimensions, every channel a group of its own with one output, a large kernel.
bool has_large_depthwise_kernel(const ConvolutionGeometry& geometry);

// The pass backward_weight; `geometry` with the whole batch. Weights are float32 in the order [kh,kw,C], in which cells keep their shape.
std::unique_ptr<SampleConvolution> depthwise_weight_gradient(const ConvolutionGeometry& geometry, int threads, DataType activations);

}  // namespace kw::cpu
