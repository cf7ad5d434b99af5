// Convolutions in which sample b has weight b, [N,O,kernel,C/groups], over two or three spatial dimensions, and their gradients.
#include <memory>

#include "cpu/convolution/convolution.h"
#include "cpu/convolution/sample_convolution.h"
#include "cpu/cpu_backend.h"
#include "ops/op_list.h"

namespace kw::cpu {

namespace {

std::unique_ptr<Kernel> prepare_samplewise(const ConvolutionStep& step, const KernelContext& context) {
  refuse_large(context, step.geometry);
  const std::shared_ptr<SampleConvolution> convolution =
      samplewise_convolution(step.geometry, step.pass, context.threads, {.has_bias = step.bias != nullptr, .activations = step.x.type});
  context.reserve_scratch(convolution->scratch_bytes());
  return make_kernel([step, convolution, weight_stride = step.geometry.weight_elements()](const Memory& memory) {
    convolution->run({.count = step.geometry.batch,
                      .x = memory.data<std::byte>(step.x),
                      .weights = memory.data<float>(step.weight),
                      .weight_stride = weight_stride,
                      .y = memory.data<std::byte>(step.y),
                      .bias = step.bias ? memory.data<float>(*step.bias) : nullptr},
                     memory.scratch());
  });
}

}  // namespace

void add_samplewise_convolution(KernelRegistry& registry) {
  add_kernel(registry, ops::samplewise_conv2d, prepare_samplewise);
  add_kernel(registry, ops::samplewise_conv2d_backward_input, prepare_samplewise);
  add_kernel(registry, ops::samplewise_conv2d_backward_weight, prepare_samplewise);
  add_kernel(registry, ops::samplewise_conv3d, prepare_samplewise);
  add_kernel(registry, ops::samplewise_conv3d_backward_input, prepare_samplewise);
  add_kernel(registry, ops::samplewise_conv3d_backward_weight, prepare_samplewise);
}

}  // namespace kw::cpu
