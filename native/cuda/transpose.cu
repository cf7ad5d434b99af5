// The axes of a tensor in another order.
#include "cuda/kernels/transpose.cuh"

#include "cuda/element.h"
#include "cuda/kernel.h"
#include "cuda/pass.h"
#include "runtime/axis_order.h"

namespace kw::cuda {
namespace {

std::unique_ptr<Kernel> prepare_transpose(const Device& gpu, const StepContext& context) {
  const Tensor &x = context.input(0), &y = context.output(0);
  const std::vector<OrderedAxis> ordered = ordered_axes(context);
  if (ordered.size() > size_t{device::kMostAxes}) {
    context.fail("expected at most " + std::to_string(device::kMostAxes) + " axes that are apart in x but received " +
                 std::to_string(ordered.size()));
  }
  device::Axes axes;
  for (const OrderedAxis& axis : ordered) {
    axes.sizes[axes.count] = axis.size;
    axes.strides[axes.count] = axis.stride;
    ++axes.count;
  }
  return for_element(context, "x", x, [&]<class T>(std::type_identity<T>) {
    return make_kernel([&gpu, &x, &y, axes, count = y.elements()](const Memory& memory) {
      launch(device::transpose<T>, pass_grid(gpu, count), kPassThreads, 0, gpu.stream, memory.data<T>(x), axes, count, memory.data<T>(y));
    });
  });
}

}  // namespace

void add_transpose(KernelRegistry& ops, const Device& gpu) {
  ops.add("transpose", [&gpu](const StepContext& context) { return prepare_transpose(gpu, context); });
}

}  // namespace kw::cuda
