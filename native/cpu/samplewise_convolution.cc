// Convolutions in which sample b has weight b, [N,O,kernel,C/groups], over two or three spatial dimensions, and their gradients.
#include <memory>
#include <string>
#include <vector>

#include "cpu/convolution.h"
#include "cpu/cpu_backend.h"
#include "cpu/kernel.h"

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

// The kernel of the weights [N,O,kernel,C/groups].
std::vector<int64_t> kernel_of(const StepContext& context, const Tensor& weight, size_t dimensions) {
  expect_rank(context, "weight", weight, dimensions + 3);
  return {weight.shape.begin() + 2, weight.shape.end() - 1};
}

void add_passes(KernelRegistry& registry, const std::string& op, size_t dimensions) {
  registry.add(op, [dimensions](const StepContext& context) -> std::unique_ptr<Kernel> {
    const Tensor& x = context.input(0);
    const Tensor& weight = context.input(1);
    const Tensor& y = context.output(0);
    const auto geometry = convolution_geometry(context, x, y, kernel_of(context, weight, dimensions));
    const Tensor* bias = context.has_input(2) ? &context.input(2) : nullptr;
    return std::make_unique<SamplewiseKernel>(context, ConvolutionPass::forward, geometry, x, weight, y, bias);
  });
  registry.add(op + "_backward_input", [dimensions](const StepContext& context) -> std::unique_ptr<Kernel> {
    const Tensor& dy = context.input(0);
    const Tensor& weight = context.input(1);
    const Tensor& dx = context.output(0);
    const auto geometry = convolution_geometry(context, dx, dy, kernel_of(context, weight, dimensions));
    return std::make_unique<SamplewiseKernel>(context, ConvolutionPass::backward_input, geometry, dx, weight, dy, nullptr);
  });
  registry.add(op + "_backward_weight", [dimensions](const StepContext& context) -> std::unique_ptr<Kernel> {
    const Tensor& x = context.input(0);
    const Tensor& dy = context.input(1);
    const auto geometry = convolution_geometry(context, x, dy, kernel_size(context, dimensions));
    return std::make_unique<SamplewiseKernel>(context, ConvolutionPass::backward_weight, geometry, x, context.output(0), dy, nullptr);
  });
}

}  // namespace

void add_samplewise_convolution(KernelRegistry& registry) {
  add_passes(registry, "samplewise_conv2d", 2);
  add_passes(registry, "samplewise_conv3d", 3);
}

}  // namespace kw::cpu
