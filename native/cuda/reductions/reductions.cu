// sum_rows (the gradient of a bias) and sum_of_squares (gradient norms).
#include "cuda/element.h"
#include "cuda/kernel.h"
#include "cuda/reductions/axis_sums.h"
#include "ops/op_list.h"

namespace kw::cuda {
namespace {

std::unique_ptr<Kernel> prepare_sum_rows(const Device& gpu, const SumRowsStep& step, const KernelContext& context) {
  const AxisSums sums(context, joined_axes({step.matrix.rows, step.matrix.channels}, {false, true}));
  return for_element(step.x, [&]<class T>(std::type_identity<T>) {
    return make_kernel([&gpu, step, sums](const Memory& memory) {
      const T* in = memory.data<T>(step.x);
      sums.launch_sums(gpu, device::Values<T>{in}, {in}, memory.scratch(), memory.data<float>(step.y));
    });
  });
}

std::unique_ptr<Kernel> prepare_sum_of_squares(const Device& gpu, const SumOfSquaresStep& step, const KernelContext& context) {
  const AxisSums sums(context, joined_axes({step.x.elements()}, {false}));
  return make_kernel([&gpu, step, sums](const Memory& memory) {
    const float* in = memory.data<float>(step.x);
    sums.launch_sums(gpu, device::Squares{in}, {in}, memory.scratch(), memory.data<float>(step.y));
  });
}

}  // namespace

void add_reductions(KernelRegistry& registry, const Device& gpu) {
  add_kernel(registry, gpu, ops::sum_rows, prepare_sum_rows);
  add_kernel(registry, gpu, ops::sum_of_squares, prepare_sum_of_squares);
}

}  // namespace kw::cuda
