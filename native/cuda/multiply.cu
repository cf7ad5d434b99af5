// x * factor, where factor is the same along some axes, and the gradient of factor: sums over those axes.
#include "cuda/kernels/multiply.cuh"

#include "cuda/axis_sums.h"
#include "cuda/element.h"
#include "cuda/kernel.h"
#include "cuda/pass.h"

namespace kw::cuda {
namespace {

// The axes of x; those along which factor varies are kept when its gradient is summed.
std::vector<SumAxis> axes_of(const StepContext& context, const std::vector<int64_t>& x, const std::vector<int64_t>& factor) {
  bool fits = x.size() == factor.size();
  for (size_t axis = 0; fits && axis < x.size(); ++axis) fits = factor[axis] == x[axis] || factor[axis] == 1;
  if (!fits) context.fail("expected a factor with axes as in x " + describe(x) + " or 1 but received shape " + describe(factor));
  std::vector<bool> varies;
  for (const int64_t size : factor) varies.push_back(size != 1);
  std::vector<SumAxis> axes = joined_axes(x, varies);
  if (axes.size() > size_t{device::kMostAxes}) {
    context.fail("expected at most " + std::to_string(device::kMostAxes) + " changes between axes along which factor " + describe(factor) +
                 " varies and others");
  }
  return axes;
}

device::FactorShape factor_shape(std::vector<SumAxis> axes) {
  device::FactorShape shape{{}, 1, false};
  if (axes.empty()) return shape;
  shape.inner = axes.back().size;
  shape.varies_inner = axes.back().is_kept;
  int64_t stride = shape.varies_inner ? shape.inner : 1;
  axes.pop_back();
  shape.outer.count = static_cast<int>(axes.size());
  for (size_t axis = axes.size(); axis-- > 0;) {
    shape.outer.sizes[axis] = axes[axis].size;
    shape.outer.strides[axis] = axes[axis].is_kept ? stride : 0;
    if (axes[axis].is_kept) stride *= axes[axis].size;
  }
  return shape;
}

std::unique_ptr<Kernel> prepare_multiply(const Device& gpu, const StepContext& context) {
  const Tensor &x = context.input(0), &factor = context.input(1), &y = context.output(0);
  expect_type(context, "factor", factor);
  expect_shape(context, "y", y, x.shape, x.type);
  const device::FactorShape shape = factor_shape(axes_of(context, x.shape, factor.shape));
  return for_element(context, "x", x, [&]<class T>(std::type_identity<T>) {
    return make_kernel([&gpu, &x, &factor, &y, shape, count = y.elements()](const Memory& memory) {
      const T* in = memory.data<T>(x);
      const float* factors = memory.data<float>(factor);
      T* out = memory.data<T>(y);
      constexpr int kCount = device::kPack<T>;
      const bool packed =
          (shape.outer.count == 0 || shape.inner % kCount == 0) && starts_packs({in, out, shape.varies_inner ? factors : nullptr});
      launch(device::multiply<T>, packs_grid<kCount>(gpu, count, packed), kPassThreads, 0, gpu.stream, in, factors, shape, count, packed,
             out);
    });
  });
}

std::unique_ptr<Kernel> prepare_multiply_backward_factor(const Device& gpu, const StepContext& context) {
  const Tensor &dy = context.input(0), &x = context.input(1), &dfactor = context.output(0);
  expect_shape(context, "x", x, dy.shape, dy.type);
  expect_shape(context, "dfactor", dfactor, context.integers("factorShape"));
  if (x.elements() == 0) context.fail("expected x that is not empty but received shape " + describe(x.shape));
  const std::vector<SumAxis> axes = axes_of(context, x.shape, dfactor.shape);
  return for_element(context, "dy", dy, [&]<class T>(std::type_identity<T>) -> std::unique_ptr<Kernel> {
    if (axes.empty() || (axes.size() == 1 && axes[0].is_kept)) {
      return make_kernel([&gpu, &dy, &x, &dfactor, count = x.elements()](const Memory& memory) {
        const T *gradient = memory.data<T>(dy), *in = memory.data<T>(x);
        float* out = memory.data<float>(dfactor);
        const bool packed = starts_packs({gradient, in, out});
        launch(device::multiply_all<T>, packs_grid<device::kPack<T>>(gpu, count, packed), kPassThreads, 0, gpu.stream, gradient, in, count,
               packed, out);
      });
    }
    return make_kernel([&gpu, &dy, &x, &dfactor, sums = AxisSums(context, axes)](const Memory& memory) {
      const T *gradient = memory.data<T>(dy), *in = memory.data<T>(x);
      sums.launch_sums(gpu, device::Products<T>{gradient, in}, {gradient, in}, memory.scratch(), memory.data<float>(dfactor));
    });
  });
}

}  // namespace

void add_multiply(KernelRegistry& ops, const Device& gpu) {
  ops.add("multiply", [&gpu](const StepContext& context) { return prepare_multiply(gpu, context); });
  ops.add("multiply_backward_factor", [&gpu](const StepContext& context) { return prepare_multiply_backward_factor(gpu, context); });
}

}  // namespace kw::cuda
