// Depth-wise convolutions of samples with weights of their own, by kernels of ours: weights are [kh,kw,C], an order in which cells of
// single positions are whole, and a result is finished in the registers that it was summed in. Either pass over activations is bound by
// memory.
#pragma once

#include <memory>

#include "cpu/sample_convolution.h"

namespace kw::cpu {

// Two spatial dimensions, and every channel a group of its own with one output.
bool is_depthwise(const ConvolutionGeometry& geometry);

// `geometry` with the whole batch. Ignores Options::weights: they are float32 [kh,kw,C].
std::unique_ptr<SampleConvolution> depthwise_convolution(const ConvolutionGeometry& geometry, ConvolutionPass pass, int threads,
                                                         const SampleConvolution::Options& options);

}  // namespace kw::cpu
