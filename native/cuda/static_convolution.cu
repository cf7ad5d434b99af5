// Convolutions with one weight for the whole batch, over two or three spatial dimensions, and their gradients; and normalized_conv2d.
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cuda/converted_copy.h"
#include "cuda/convolution.h"
#include "cuda/convolution_methods.h"
#include "cuda/kernel.h"
#include "runtime/convolution_passes.h"

namespace kw::cuda {

namespace {

// With bfloat16 activations the weight is read from a copy of the program's in bfloat16; its gradient is float32.
class StaticConvolution final : public Kernel {
 public:
  StaticConvolution(const Device& gpu, const StepContext& context, ConvolutionPass pass, const ConvolutionGeometry& geometry,
                    const Tensor& x, const Tensor& weight, const Tensor& y, const Tensor* bias,
                    std::optional<NormalizedEpilogue> epilogue = std::nullopt)
      : x_(x),
        weight_(weight),
        y_(y),
        bias_(bias),
        samples_(geometry.batch),
        epilogue_(std::move(epilogue)),
        convolution_(gpu, geometry, pass, options(pass)) {
    expect_shape(context, "weight", weight, geometry.weight_shape());
    if (bias) expect_shape(context, "bias", *bias, {geometry.out_channels});
    context.reserve_scratch(convolution_.scratch_bytes());
    if (options(pass).weights == DataType::bfloat16) {
      const int64_t elements = weight.elements();
      rounded_ = converted_copy(context, "bfloat16", weight, static_cast<size_t>(elements * element_bytes(DataType::bfloat16)),
                                [&gpu, &weight, elements](const Memory& memory, const DeviceArray& destination) {
                                  round_weights(gpu, memory.data<float>(weight), 1, elements, elements, destination.data<std::byte>());
                                });
    }
  }

  void run(const Memory& memory) override {
    ConvolutionRun run = {.samples = samples_,
                          .x = memory.data<std::byte>(x_),
                          .weight = rounded_ ? rounded_->data<std::byte>() : memory.data<std::byte>(weight_),
                          .weight_stride = 0,
                          .y = memory.data<std::byte>(y_),
                          .bias = bias_ ? memory.data<float>(*bias_) : nullptr};
    if (epilogue_) epilogue_->fill_in(memory, 0, run);
    convolution_.run(run, memory.scratch());
  }

 private:
  ConvolutionOptions options(ConvolutionPass pass) const {
    ConvolutionOptions options = {.activations = x_.type,
                                  .weights = pass == ConvolutionPass::backward_weight ? DataType::float32 : x_.type,
                                  .shares_weight = true,
                                  .adds_bias = bias_ != nullptr};
    if (epilogue_) epilogue_->fill_in(options);
    return options;
  }

  const Tensor& x_;
  const Tensor& weight_;
  const Tensor& y_;
  const Tensor* bias_;
  const int64_t samples_;
  const std::optional<NormalizedEpilogue> epilogue_;
  const Convolution convolution_;
  std::shared_ptr<ConvertedCopy> rounded_;
};

std::unique_ptr<Kernel> prepare_normalized(const Device& gpu, const StepContext& context) {
  const Tensor &x = context.input(0), &weight = context.input(1), &y = context.output(0);
  expect_rank(context, "weight", weight, 4);
  const std::vector<int64_t> kernel(weight.shape.begin() + 1, weight.shape.end() - 1);
  const auto geometry = convolution_geometry(context, x, y, kernel);
  return std::make_unique<StaticConvolution>(gpu, context, ConvolutionPass::forward, geometry, x, weight, y, nullptr,
                                             NormalizedEpilogue(context, 3, y));
}

}  // namespace

void add_convolution(KernelRegistry& ops, const Device& gpu) {
  const auto make = [&gpu](const auto&... arguments) { return std::make_unique<StaticConvolution>(gpu, arguments...); };
  add_passes(ops, "conv2d", 1, 2, make);
  add_passes(ops, "conv3d", 1, 3, make);
  ops.add("normalized_conv2d", [&gpu](const StepContext& context) { return prepare_normalized(gpu, context); });
}

}  // namespace kw::cuda
