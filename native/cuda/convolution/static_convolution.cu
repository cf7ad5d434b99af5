// Convolutions with one weight for the whole batch, over two or three spatial dimensions, and their gradients; and normalized_conv2d.
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cuda/converted_copy.h"
#include "cuda/convolution/convolution.h"
#include "cuda/convolution/convolution_methods.h"
#include "cuda/kernel.h"
#include "ops/op_list.h"

namespace kw::cuda {

namespace {

// With bfloat16 activations the weight is read from a copy of the program's in bfloat16; its gradient is float32.
class StaticConvolution final : public Kernel {
 public:
  StaticConvolution(const Device& gpu, const ConvolutionStep& step, const KernelContext& context,
                    std::optional<NormalizedEpilogue> epilogue)
      : x_(step.x),
        weight_(step.weight),
        y_(step.y),
        bias_(step.bias),
        samples_(step.geometry.batch),
        epilogue_(std::move(epilogue)),
        convolution_(gpu, step.geometry, step.pass, options(step.pass)) {
    context.reserve_scratch(convolution_.scratch_bytes());
    if (options(step.pass).weights == DataType::bfloat16) {
      const Tensor& weight = weight_;
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

std::unique_ptr<Kernel> prepare_normalized(const Device& gpu, const NormalizedConv2dStep& step, const KernelContext& context) {
  refuse_large(context, step.geometry);
  return std::make_unique<StaticConvolution>(gpu, step, context, NormalizedEpilogue(step.epilogue));
}

}  // namespace

void add_convolution(KernelRegistry& registry, const Device& gpu) {
  const auto prepare = [&gpu](const ConvolutionStep& step, const KernelContext& context) -> std::unique_ptr<Kernel> {
    refuse_large(context, step.geometry);
    return std::make_unique<StaticConvolution>(gpu, step, context, std::nullopt);
  };
  kw::add_kernel(registry, ops::conv2d, prepare);
  kw::add_kernel(registry, ops::conv2d_backward_input, prepare);
  kw::add_kernel(registry, ops::conv2d_backward_weight, prepare);
  kw::add_kernel(registry, ops::conv3d, prepare);
  kw::add_kernel(registry, ops::conv3d_backward_input, prepare);
  kw::add_kernel(registry, ops::conv3d_backward_weight, prepare);
  add_kernel(registry, gpu, ops::normalized_conv2d, prepare_normalized);
}

}  // namespace kw::cuda
