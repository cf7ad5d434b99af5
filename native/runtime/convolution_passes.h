// The three passes of a convolution op: `op`, `op`_backward_input and `op`_backward_weight.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "runtime/convolution_geometry.h"
#include "runtime/kernel_checks.h"

namespace kw {

// `make` takes context, pass, geometry, x, weight, y and bias (null where there is none) and returns the kernel; the pass decides which of
// the tensors it writes. `first_axis` is the weight's axis with which its `dimensions` spatial ones begin; one, for input channels, follows
// them.
template <class Make>
void add_passes(KernelRegistry& registry, const std::string& op, int64_t first_axis, size_t dimensions, const Make& make) {
  const auto kernel_of = [first_axis, dimensions](const StepContext& context, const Tensor& weight) {
    expect_rank(context, "weight", weight, static_cast<size_t>(first_axis) + dimensions + 1);
    return std::vector<int64_t>(weight.shape.begin() + first_axis, weight.shape.end() - 1);
  };
  registry.add(op, [kernel_of, make](const StepContext& context) -> std::unique_ptr<Kernel> {
    const Tensor &x = context.input(0), &weight = context.input(1), &y = context.output(0);
    const Tensor* bias = context.has_input(2) ? &context.input(2) : nullptr;
    const auto geometry = convolution_geometry(context, x, y, kernel_of(context, weight));
    return make(context, ConvolutionPass::forward, geometry, x, weight, y, bias);
  });
  registry.add(op + "_backward_input", [kernel_of, make](const StepContext& context) -> std::unique_ptr<Kernel> {
    const Tensor &dy = context.input(0), &weight = context.input(1), &dx = context.output(0);
    const auto geometry = convolution_geometry(context, dx, dy, kernel_of(context, weight));
    return make(context, ConvolutionPass::backward_input, geometry, dx, weight, dy, static_cast<const Tensor*>(nullptr));
  });
  registry.add(op + "_backward_weight", [dimensions, make](const StepContext& context) -> std::unique_ptr<Kernel> {
    const Tensor &x = context.input(0), &dy = context.input(1), &dweight = context.output(0);
    const auto geometry = convolution_geometry(context, x, dy, kernel_size(context, dimensions));
    return make(context, ConvolutionPass::backward_weight, geometry, x, dweight, dy, static_cast<const Tensor*>(nullptr));
  });
}

}  // namespace kw
