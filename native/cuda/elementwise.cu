// Ops that treat every element alike: add.
#include "cuda/kernels/elementwise.cuh"

#include "cuda/element.h"
#include "cuda/grid.h"
#include "cuda/kernel.h"
#include "cuda/launch.h"

namespace kw::cuda {
namespace {

std::unique_ptr<Kernel> prepare_add(const Device& gpu, const StepContext& context) {
  const Tensor &a = context.input(0), &b = context.input(1), &y = context.output(0);
  expect_shape(context, "b", b, a.shape, a.type);
  expect_shape(context, "y", y, a.shape, a.type);
  return for_element(context, "a", a, [&]<class T>(std::type_identity<T>) {
    return make_kernel([&gpu, &a, &b, &y, count = y.elements()](const Memory& memory) {
      launch(device::add<T>, pass_grid(gpu, count), kPassThreads, 0, gpu.stream, memory.data<T>(a), memory.data<T>(b), count,
             memory.data<T>(y));
    });
  });
}

}  // namespace

void add_elementwise(KernelRegistry& ops, const Device& gpu) {
  ops.add("add", [&gpu](const StepContext& context) { return prepare_add(gpu, context); });
}

}  // namespace kw::cuda
