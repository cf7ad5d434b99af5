// sum_rows (the gradient of a bias) and sum_of_squares (gradient norms).
#include "cuda/axis_sums.h"
#include "cuda/element.h"
#include "cuda/kernel.h"

namespace kw::cuda {
namespace {

std::unique_ptr<Kernel> prepare_sum_rows(const Device& gpu, const StepContext& context) {
  const Tensor &x = context.input(0), &y = context.output(0);
  const Matrix matrix = as_matrix(context, "x", x, x.type);
  expect_shape(context, "y", y, {matrix.channels});
  const AxisSums sums(context, joined_axes({matrix.rows, matrix.channels}, {false, true}));
  return for_element(context, "x", x, [&]<class T>(std::type_identity<T>) {
    return make_kernel([&gpu, &x, &y, sums](const Memory& memory) {
      const T* in = memory.data<T>(x);
      sums.launch_sums(gpu, device::Values<T>{in}, {in}, memory.scratch(), memory.data<float>(y));
    });
  });
}

std::unique_ptr<Kernel> prepare_sum_of_squares(const Device& gpu, const StepContext& context) {
  const Tensor &x = context.input(0), &y = context.output(0);
  expect_type(context, "x", x);
  expect_shape(context, "y", y, {});
  const AxisSums sums(context, joined_axes({x.elements()}, {false}));
  return make_kernel([&gpu, &x, &y, sums](const Memory& memory) {
    const float* in = memory.data<float>(x);
    sums.launch_sums(gpu, device::Squares{in}, {in}, memory.scratch(), memory.data<float>(y));
  });
}

}  // namespace

void add_reductions(KernelRegistry& ops, const Device& gpu) {
  ops.add("sum_rows", [&gpu](const StepContext& context) { return prepare_sum_rows(gpu, context); });
  ops.add("sum_of_squares", [&gpu](const StepContext& context) { return prepare_sum_of_squares(gpu, context); });
}

}  // namespace kw::cuda
