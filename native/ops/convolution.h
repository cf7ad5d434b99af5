// Convolutions over two or three spatial dimensions, with one weight for the whole batch or one for each sample, and their gradients.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "ops/activation.h"
#include "ops/op.h"

namespace kw {

enum class ConvolutionPass { forward, backward_input, backward_weight };

// Lists have one number for each spatial dimension: height and width, or depth, height and width.
struct ConvolutionGeometry {
  int64_t batch, in_channels, out_channels, groups;
  std::vector<int64_t> size, out_size, kernel;  // x [N,size,C], y [N,out_size,O], weight [O,kernel,C/groups]
  std::vector<int64_t> stride, padding, dilation;

  int64_t sample_elements() const;      // of x
  int64_t out_sample_elements() const;  // of y
  int64_t weight_elements() const;
  std::vector<int64_t> weight_shape() const;
  ConvolutionGeometry with_batch(int64_t samples) const;
};

// The attribute `kernel`: a size for each spatial dimension.
std::vector<int64_t> read_kernel(const StepContext& context, size_t dimensions);

// From the step's convolution attributes, the two activations' shapes and the kernel, whose length is the number of spatial dimensions.
// Refuses what does not fit, and sizes beyond 2^31 - 1, whose sums and products might not be what they seem.
ConvolutionGeometry read_geometry(const StepContext& context, const Tensor& x, const Tensor& y, const std::vector<int64_t>& kernel);

// `x`, `weight` and `y` are values or gradients; the pass decides which of them it writes.
struct ConvolutionStep {
  ConvolutionPass pass;
  const Tensor &x, &weight, &y;
  const Tensor* bias;  // null where there is none
  ConvolutionGeometry geometry;

 protected:
  // `samplewise`: sample b has weight b, [N,O,kernel,C/groups].
  ConvolutionStep(const StepContext& context, ConvolutionPass pass, size_t dimensions, bool samplewise, bool has_bias = true);
};

template <ConvolutionPass kPass, size_t kDimensions, bool kSamplewise>
struct ConvolutionStepOf : ConvolutionStep {
  explicit ConvolutionStepOf(const StepContext& context) : ConvolutionStep(context, kPass, kDimensions, kSamplewise) {}
};

using Conv2dStep = ConvolutionStepOf<ConvolutionPass::forward, 2, false>;
using Conv2dBackwardInputStep = ConvolutionStepOf<ConvolutionPass::backward_input, 2, false>;
using Conv2dBackwardWeightStep = ConvolutionStepOf<ConvolutionPass::backward_weight, 2, false>;
using Conv3dStep = ConvolutionStepOf<ConvolutionPass::forward, 3, false>;
using Conv3dBackwardInputStep = ConvolutionStepOf<ConvolutionPass::backward_input, 3, false>;
using Conv3dBackwardWeightStep = ConvolutionStepOf<ConvolutionPass::backward_weight, 3, false>;
using SamplewiseConv2dStep = ConvolutionStepOf<ConvolutionPass::forward, 2, true>;
using SamplewiseConv2dBackwardInputStep = ConvolutionStepOf<ConvolutionPass::backward_input, 2, true>;
using SamplewiseConv2dBackwardWeightStep = ConvolutionStepOf<ConvolutionPass::backward_weight, 2, true>;
using SamplewiseConv3dStep = ConvolutionStepOf<ConvolutionPass::forward, 3, true>;
using SamplewiseConv3dBackwardInputStep = ConvolutionStepOf<ConvolutionPass::backward_input, 3, true>;
using SamplewiseConv3dBackwardWeightStep = ConvolutionStepOf<ConvolutionPass::backward_weight, 3, true>;

// What follows a convolution in an inference program: a BatchNorm with fixed statistics, a residual, an activation, and means over
// positions.
struct InferenceEpilogue {
  // The inputs scale, shift, mean and variance, each [O], and residual? (like y) from position `first`, the convolution's bias? [O] just
  // before them, the attributes `epsilon` and `activation`, and the output means? [N,O], the second.
  InferenceEpilogue(const StepContext& context, size_t first, const Tensor& y);

  const Tensor& y;
  const Tensor* bias;
  const Tensor &scale, &shift, &mean, &variance;
  const Tensor *residual, *means;
  double epsilon;
  Activation activation;

  int64_t channels() const { return y.shape.back(); }
};

struct NormalizedConv2dStep : ConvolutionStep {
  static constexpr InPlace in_place[] = {{0, 7}};
  explicit NormalizedConv2dStep(const StepContext& context);
  InferenceEpilogue epilogue;  // with the convolution's bias
};

}  // namespace kw

// Names in plans, and how their steps are read.
#define KW_CONVOLUTION_OPS(OP)                                              \
  OP(conv2d, Conv2dStep)                                                    \
  OP(conv2d_backward_input, Conv2dBackwardInputStep)                        \
  OP(conv2d_backward_weight, Conv2dBackwardWeightStep)                      \
  OP(conv3d, Conv3dStep)                                                    \
  OP(conv3d_backward_input, Conv3dBackwardInputStep)                        \
  OP(conv3d_backward_weight, Conv3dBackwardWeightStep)                      \
  OP(normalized_conv2d, NormalizedConv2dStep)                               \
  OP(samplewise_conv2d, SamplewiseConv2dStep)                               \
  OP(samplewise_conv2d_backward_input, SamplewiseConv2dBackwardInputStep)   \
  OP(samplewise_conv2d_backward_weight, SamplewiseConv2dBackwardWeightStep) \
  OP(samplewise_conv3d, SamplewiseConv3dStep)                               \
  OP(samplewise_conv3d_backward_input, SamplewiseConv3dBackwardInputStep)   \
  OP(samplewise_conv3d_backward_weight, SamplewiseConv3dBackwardWeightStep)
