// Convolutions in which sample b has weight b, [N,O,kernel,C/groups], over two or three spatial dimensions, and their gradients.
#include <memory>

#include "cuda/convolution.h"
#include "cuda/kernel.h"
#include "runtime/convolution_passes.h"

namespace kw::cuda {

namespace {

class SamplewiseConvolution final : public Kernel {
 public:
  SamplewiseConvolution(const Device& gpu, const StepContext& context, ConvolutionPass pass, const ConvolutionGeometry& geometry,
                        const Tensor& x, const Tensor& weight, const Tensor& y, const Tensor* bias)
      : x_(x),
        weight_(weight),
        y_(y),
        bias_(bias),
        samples_(geometry.batch),
        weight_stride_(geometry.weight_elements()),
        convolution_(gpu, geometry, pass, {.activations = x.type, .adds_bias = bias != nullptr}) {
    auto shape = geometry.weight_shape();
    shape.insert(shape.begin(), geometry.batch);
    expect_shape(context, "weight", weight, shape);
    if (bias) expect_shape(context, "bias", *bias, {geometry.out_channels});
    context.reserve_scratch(convolution_.scratch_bytes());
  }

  void run(const Memory& memory) override {
    convolution_.run({.samples = samples_,
                      .x = memory.data<std::byte>(x_),
                      .weight = memory.data<float>(weight_),
                      .weight_stride = weight_stride_,
                      .y = memory.data<std::byte>(y_),
                      .bias = bias_ ? memory.data<float>(*bias_) : nullptr},
                     memory.scratch());
  }

 private:
  const Tensor& x_;
  const Tensor& weight_;
  const Tensor& y_;
  const Tensor* bias_;
  const int64_t samples_, weight_stride_;
  const Convolution convolution_;
};

}  // namespace

void add_samplewise_convolution(KernelRegistry& ops, const Device& gpu) {
  const auto make = [&gpu](const auto&... arguments) { return std::make_unique<SamplewiseConvolution>(gpu, arguments...); };
  add_passes(ops, "samplewise_conv2d", 2, 2, make);
  add_passes(ops, "samplewise_conv3d", 2, 3, make);
}

}  // namespace kw::cuda
