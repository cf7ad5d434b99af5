// Convolutions in which sample b has weight b, [N,O,kh,kw,C/groups], and their gradients.
#include <memory>

#include "cpu/convolution.h"
#include "cpu/cpu_backend.h"
#include "cpu/kernel.h"

namespace kw::cpu {

namespace {

class SamplewiseConv2d final : public Kernel {
 public:
  SamplewiseConv2d(const StepContext& context, ConvolutionPass pass, const ConvolutionGeometry& geometry, const Tensor& x,
                   const Tensor& weight, const Tensor& y, const Tensor* bias)
      : x_(x),
        weight_(weight),
        y_(y),
        bias_(bias),
        samples_(geometry.batch),
        weight_stride_(geometry.weight_elements()),
        convolution_(geometry, pass, bias != nullptr, context.threads, SamplewiseConvolution::Weights::plain) {
    auto shape = geometry.weight_shape();
    shape.insert(shape.begin(), geometry.batch);
    expect_shape(context, "weight", weight, shape);
    if (bias) expect_shape(context, "bias", *bias, {geometry.out_channels});
    context.reserve_scratch(convolution_.scratch_bytes());
  }

  void run(const Memory& memory) override {
    convolution_.run(samples_, memory.data<float>(x_), memory.data<float>(weight_), weight_stride_, memory.data<float>(y_),
                     bias_ ? memory.data<float>(*bias_) : nullptr, memory.scratch());
  }

 private:
  const Tensor& x_;
  const Tensor& weight_;
  const Tensor& y_;
  const Tensor* bias_;
  int64_t samples_, weight_stride_;
  SamplewiseConvolution convolution_;
};

}  // namespace

void add_samplewise_convolution(KernelRegistry& registry) {
  registry.add("samplewise_conv2d", [](const StepContext& context) -> std::unique_ptr<Kernel> {
    const Tensor& x = context.input(0);
    const Tensor& weight = context.input(1);
    const Tensor& y = context.output(0);
    expect_rank(context, "weight", weight, 5);
    const auto geometry = convolution_geometry(context, x, y, weight.shape[2], weight.shape[3]);
    const Tensor* bias = context.has_input(2) ? &context.input(2) : nullptr;
    return std::make_unique<SamplewiseConv2d>(context, ConvolutionPass::forward, geometry, x, weight, y, bias);
  });
  registry.add("samplewise_conv2d_backward_input", [](const StepContext& context) -> std::unique_ptr<Kernel> {
    const Tensor& dy = context.input(0);
    const Tensor& weight = context.input(1);
    const Tensor& dx = context.output(0);
    expect_rank(context, "weight", weight, 5);
    const auto geometry = convolution_geometry(context, dx, dy, weight.shape[2], weight.shape[3]);
    return std::make_unique<SamplewiseConv2d>(context, ConvolutionPass::backward_input, geometry, dx, weight, dy, nullptr);
  });
  registry.add("samplewise_conv2d_backward_weight", [](const StepContext& context) -> std::unique_ptr<Kernel> {
    const Tensor& x = context.input(0);
    const Tensor& dy = context.input(1);
    const Tensor& dweight = context.output(0);
    const KernelSize kernel = kernel_size(context);
    const auto geometry = convolution_geometry(context, x, dy, kernel.height, kernel.width);
    return std::make_unique<SamplewiseConv2d>(context, ConvolutionPass::backward_weight, geometry, x, dweight, dy, nullptr);
  });
}

}  // namespace kw::cpu
