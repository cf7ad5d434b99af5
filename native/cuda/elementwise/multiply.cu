// x * factor, where factor is the same along some axes, and the gradient of factor: sums over those axes.
#include "cuda/kernels/multiply.cuh"

#include "cuda/element.h"
#include "cuda/kernel.h"
#include "cuda/pass.h"
#include "cuda/reductions/axis_sums.h"
#include "ops/op_list.h"

namespace kw::cuda {
namespace {

// More axes than kernels take are refused (unsupported).
void refuse_many_axes(const KernelContext& context, const std::vector<FactorAxis>& axes, const Tensor& factor) {
  if (axes.size() > size_t{device::kMostAxes}) {
    context.unsupported("expected at most " + std::to_string(device::kMostAxes) + " changes between axes along which factor " +
                        describe(factor.shape) + " varies and others");
  }
}

std::vector<SumAxis> sum_axes(const std::vector<FactorAxis>& axes) {
  std::vector<SumAxis> sums;
  for (const FactorAxis& axis : axes) sums.push_back({axis.size, axis.varies()});
  return sums;
}

device::FactorShape factor_shape(const std::vector<FactorAxis>& axes) {
  device::FactorShape shape{{}, 1, false};
  if (axes.empty()) return shape;
  shape.inner = axes.back().size;
  shape.varies_inner = axes.back().varies();
  for (size_t axis = 0; axis + 1 < axes.size(); ++axis) {
    shape.outer.sizes[axis] = axes[axis].size;
    shape.outer.strides[axis] = axes[axis].stride;
    ++shape.outer.count;
  }
  return shape;
}

std::unique_ptr<Kernel> prepare_multiply(const Device& gpu, const MultiplyStep& step, const KernelContext& context) {
  refuse_many_axes(context, step.axes, step.factor);
  return for_element(step.x, [&]<class T>(std::type_identity<T>) {
    return make_kernel([&gpu, step, shape = factor_shape(step.axes), count = step.y.elements()](const Memory& memory) {
      const T* in = memory.data<T>(step.x);
      const float* factors = memory.data<float>(step.factor);
      T* out = memory.data<T>(step.y);
      constexpr int kCount = device::kPack<T>;
      const bool packed =
          (shape.outer.count == 0 || shape.inner % kCount == 0) && starts_packs({in, out, shape.varies_inner ? factors : nullptr});
      launch(device::multiply<T>, packs_grid<kCount>(gpu, count, packed), kPassThreads, 0, gpu.stream, in, factors, shape, count, packed,
             out);
    });
  });
}

std::unique_ptr<Kernel> prepare_multiply_backward_factor(const Device& gpu, const MultiplyBackwardFactorStep& step,
                                                         const KernelContext& context) {
  refuse_many_axes(context, step.axes, step.dfactor);
  return for_element(step.dy, [&]<class T>(std::type_identity<T>) -> std::unique_ptr<Kernel> {
    if (step.sums_nothing()) {
      return make_kernel([&gpu, step, count = step.x.elements()](const Memory& memory) {
        const T *gradient = memory.data<T>(step.dy), *in = memory.data<T>(step.x);
        float* out = memory.data<float>(step.dfactor);
        const bool packed = starts_packs({gradient, in, out});
        launch(device::multiply_all<T>, packs_grid<device::kPack<T>>(gpu, count, packed), kPassThreads, 0, gpu.stream, gradient, in, count,
               packed, out);
      });
    }
    return make_kernel([&gpu, step, sums = AxisSums(context, sum_axes(step.axes))](const Memory& memory) {
      const T *gradient = memory.data<T>(step.dy), *in = memory.data<T>(step.x);
      sums.launch_sums(gpu, device::Products<T>{gradient, in}, {gradient, in}, memory.scratch(), memory.data<float>(step.dfactor));
    });
  });
}

}  // namespace

void add_multiply(KernelRegistry& registry, const Device& gpu) {
  add_kernel(registry, gpu, ops::multiply, prepare_multiply);
  add_kernel(registry, gpu, ops::multiply_backward_factor, prepare_multiply_backward_factor);
}

}  // namespace kw::cuda
