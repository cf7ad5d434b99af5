// The axes of a tensor in another order.
#include "cuda/kernels/transpose.cuh"

#include "cuda/element.h"
#include "cuda/kernel.h"
#include "cuda/pass.h"
#include "ops/op_list.h"

namespace kw::cuda {
namespace {

std::unique_ptr<Kernel> prepare_transpose(const Device& gpu, const TransposeStep& step, const KernelContext& context) {
  if (step.axes.size() > size_t{device::kMostAxes}) {
    context.unsupported("expected at most " + std::to_string(device::kMostAxes) + " axes that are apart in x but received " +
                        std::to_string(step.axes.size()));
  }
  device::Axes axes;
  for (const OrderedAxis& axis : step.axes) {
    axes.sizes[axes.count] = axis.size;
    axes.strides[axes.count] = axis.stride;
    ++axes.count;
  }
  return for_element(step.x, [&]<class T>(std::type_identity<T>) {
    return make_kernel([&gpu, step, axes, count = step.y.elements()](const Memory& memory) {
      launch(device::transpose<T>, pass_grid(gpu, count), kPassThreads, 0, gpu.stream, memory.data<T>(step.x), axes, count,
             memory.data<T>(step.y));
    });
  });
}

}  // namespace

void add_transpose(KernelRegistry& registry, const Device& gpu) { add_kernel(registry, gpu, ops::transpose, prepare_transpose); }

}  // namespace kw::cuda
