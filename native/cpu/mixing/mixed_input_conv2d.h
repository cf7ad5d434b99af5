// The same three passes as mixed_conv2d.cc with the sums in another order: not the cells are mixed into weights, but the input's windows
// into one mixed input for each cell, which then meets that cell for all samples at once:
//   y[b,p] = sum over j of cell_j * u_j[b,p],   u_j[b,p] = sum over i of attention[b,i,j] * (x[b] at mixture i's position and channels).
// For outputs of few positions that is less work than a weight for each sample, and all of it large matrix products.
#pragma once

#include <memory>

#include "cpu/convolution/convolution.h"
#include "cpu/convolution/folded_normalization.h"
#include "cpu/mixing/mixing.h"
#include "ops/mixing.h"

namespace kw::cpu {

// Whether mixing inputs costs less for this layer. `geometry` with the whole batch.
bool mixes_input(const ConvolutionGeometry& geometry, const CellGrid& grid);

std::unique_ptr<Kernel> mixed_input_forward(const MixedConvolutionStep& step, const KernelContext& context);
std::unique_ptr<Kernel> mixed_input_backward_input(const MixedConvolutionStep& step, const KernelContext& context);
std::unique_ptr<Kernel> mixed_input_backward_mixing(const MixedConv2dBackwardMixingStep& step, const KernelContext& context);

}  // namespace kw::cpu
