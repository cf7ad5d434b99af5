// Weight gradients where oneDNN's are slow: on AVX2. (Measured with oneDNN 2.6: 3x3 takes twice as long as this.)
#pragma once

#include <memory>

#include "cpu/convolution/sample_convolution.h"

namespace kw::cpu {

// Whether this is for such a convolution on this processor: two spatial dimensions, one group, channels in blocks of 16.
bool has_direct_weight_gradient(const ConvolutionGeometry& geometry);

// The pass backward_weight; `geometry` with the whole batch. Weights are plain: float32 [O,kernel,C], of which cells are made without
// changing the order of their elements. Samples of weight stride 0 have one weight, whose gradient is their sum.
std::unique_ptr<SampleConvolution> direct_weight_gradient(const ConvolutionGeometry& geometry, int threads, DataType activations);

}  // namespace kw::cpu
