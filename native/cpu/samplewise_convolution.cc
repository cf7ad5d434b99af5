// Convolutions in which sample b has weight b, [N,O,kernel,C/groups], over two or three spatial dimensions, and their gradients.
#include <memory>
#include <string>
#include <vector>

#include "cpu/convolution.h"
#include "cpu/cpu_backend.h"
#include "cpu/sample_convolution.h"
#include "runtime/convolution_passes.h"
#include "runtime/kernel_checks.h"

namespace kw::cpu {

namespace {

class SamplewiseKernel final : public Kernel {
 public:
  SamplewiseKernel(const StepContext& context, ConvolutionPass pass, const ConvolutionGeometry& geometry, const Tensor& x,
                   const Tensor& weight, const Tensor& y, const Tensor* bias)
      : x_(x),
        weight_(weight),
        y_(y),
        bias_(bias),
        samples_(geometry.batch),
        weight_stride_(geometry.weight_elements()),
        convolution_(samplewise_convolution(geometry, pass, context.threads, {.has_bias = bias != nullptr, .activations = x.type})) {
    auto shape = geometry.weight_shape();
    shape.insert(shape.begin(), geometry.batch);
    expect_shape(context, "weight", weight, shape);
    if (bias) expect_shape(context, "bias", *bias, {geometry.out_channels});
    context.reserve_scratch(convolution_->scratch_bytes());
  }

  void run(const Memory& memory) override {
    convolution_->run({.count = samples_,
                       .x = memory.data<std::byte>(x_),
                       .weights = memory.data<float>(weight_),
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
  int64_t samples_, weight_stride_;
  std::unique_ptr<SampleConvolution> convolution_;
};

}  // namespace

void add_samplewise_convolution(KernelRegistry& registry) {
  const auto make = [](const auto&... arguments) { return std::make_unique<SamplewiseKernel>(arguments...); };
  add_passes(registry, "samplewise_conv2d", 2, 2, make);
  add_passes(registry, "samplewise_conv3d", 2, 3, make);
}

}  // namespace kw::cpu
