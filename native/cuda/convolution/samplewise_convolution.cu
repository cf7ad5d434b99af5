// Convolutions in which sample b has weight b, [N,O,kernel,C/groups], over two or three spatial dimensions, and their gradients.
#include <memory>

#include "cuda/convolution/convolution.h"
#include "cuda/kernel.h"
#include "ops/op_list.h"

namespace kw::cuda {

namespace {

std::unique_ptr<Kernel> prepare_samplewise(const Device& gpu, const ConvolutionStep& step, const KernelContext& context) {
  refuse_large(context, step.geometry);
  const auto convolution = std::make_shared<Convolution>(gpu, step.geometry, step.pass,
                                                         ConvolutionOptions{.activations = step.x.type, .adds_bias = step.bias != nullptr});
  context.reserve_scratch(convolution->scratch_bytes());
  return make_kernel([step, convolution, weight_stride = step.geometry.weight_elements()](const Memory& memory) {
    convolution->run({.samples = step.geometry.batch,
                      .x = memory.data<std::byte>(step.x),
                      .weight = memory.data<float>(step.weight),
                      .weight_stride = weight_stride,
                      .y = memory.data<std::byte>(step.y),
                      .bias = step.bias ? memory.data<float>(*step.bias) : nullptr},
                     memory.scratch());
  });
}

}  // namespace

void add_samplewise_convolution(KernelRegistry& registry, const Device& gpu) {
  const auto prepare = [&gpu](const ConvolutionStep& step, const KernelContext& context) { return prepare_samplewise(gpu, step, context); };
  kw::add_kernel(registry, ops::samplewise_conv2d, prepare);
  kw::add_kernel(registry, ops::samplewise_conv2d_backward_input, prepare);
  kw::add_kernel(registry, ops::samplewise_conv2d_backward_weight, prepare);
  kw::add_kernel(registry, ops::samplewise_conv3d, prepare);
  kw::add_kernel(registry, ops::samplewise_conv3d_backward_input, prepare);
  kw::add_kernel(registry, ops::samplewise_conv3d_backward_weight, prepare);
}

}  // namespace kw::cuda
