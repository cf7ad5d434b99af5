// The gradients of batch normalization, with statistics of the batch and with constant ones.
#include "cuda/kernels/batch_norm_backward.cuh"

#include "cuda/batch_norm.h"
#include "cuda/element.h"
#include "cuda/kernel.h"
#include "cuda/launch.h"
#include "cuda/pass.h"

namespace kw::cuda {
namespace {

// Channels of a thread: with more, the sums and the rows on their way would not fit its registers.
constexpr int kChannels = 4;

struct Form {
  Activation activation = Activation::none;
  bool stored = false;               // y is given, and the gradient that passes is an output
  bool constant_statistics = false;  // then dx = factor * dy
};

template <class T, int kCount>
void run_backward(const Device& gpu, const device::BatchNormGradient<T>& norm, Matrix matrix, std::byte* scratch) {
  if (matrix.rows <= kFewRows) {
    const ColumnGrid grid = grid_of_few_rows(matrix, kCount);
    launch(device::batch_gradient_of_few_rows<T, kCount>, grid.blocks(), device::kColumnThreads, 0, gpu.stream, norm, grid.columns);
    return;
  }
  const ColumnGrid sums(matrix, kCount, device::kMostLanes, kSumBlocks), pass(matrix, kCount, device::kMostLanes, kPassBlocks);
  const ColumnGrid finish = grid_of_parts(sums.parts, matrix.channels);
  auto* parts = reinterpret_cast<double*>(scratch);
  auto* means = reinterpret_cast<float*>(scratch + sums.part_bytes());
  launch(device::batch_gradient_sums<T, kCount>, sums.blocks(), device::kColumnThreads, 0, gpu.stream, norm, sums.columns, parts);
  launch(device::finish_batch_gradient_sums, finish.blocks(), device::kColumnThreads, 0, gpu.stream, parts, finish.columns, matrix.rows,
         norm.variance, norm.epsilon, norm.dscale, norm.dbias, means);
  launch(device::batch_gradient<T, kCount>, pass.blocks(), device::kColumnThreads, 0, gpu.stream, norm, pass.columns, means);
}

template <class T>
std::unique_ptr<Kernel> make_backward(const Device& gpu, const StepContext& context, Matrix matrix, Form form) {
  const Tensor &dy = context.input(0), &x = context.input(1), &scale = context.input(2);
  const Tensor &mean = context.input(3), &variance = context.input(4);
  const Tensor* bias = form.activation != Activation::none ? &context.input(5) : nullptr;
  const Tensor* y = form.stored ? &context.input(6) : nullptr;
  const Tensor* dresidual = form.stored ? &context.output(3) : nullptr;
  const Tensor &dx = context.output(0), &dscale = context.output(1), &dbias = context.output(2);
  const double epsilon = context.number("epsilon");
  for (const int count : {1, kChannels}) {
    const ColumnGrid sums(matrix, count, device::kMostLanes, kSumBlocks);
    context.reserve_scratch(sums.part_bytes() + 2 * static_cast<size_t>(matrix.channels) * sizeof(float));
  }
  return make_kernel([&, matrix, epsilon, bias, y, dresidual, form](const Memory& memory) {
    const device::BatchNormGradient<T> norm = {memory.data<T>(dy),
                                               memory.data<T>(x),
                                               memory.data<float>(scale),
                                               memory.data<float>(mean),
                                               memory.data<float>(variance),
                                               bias ? memory.data<float>(*bias) : nullptr,
                                               y ? memory.data<T>(*y) : nullptr,
                                               epsilon,
                                               norm_activation(form.activation),
                                               form.constant_statistics,
                                               memory.data<T>(dx),
                                               memory.data<float>(dscale),
                                               memory.data<float>(dbias),
                                               dresidual ? memory.data<T>(*dresidual) : nullptr};
    const bool packed = matrix.channels % kChannels == 0 && starts_packs({norm.dy, norm.x, norm.y, norm.dx, norm.passed});
    const auto run = packed ? run_backward<T, kChannels> : run_backward<T, 1>;
    run(gpu, norm, matrix, memory.scratch());
  });
}

std::unique_ptr<Kernel> prepare_backward(const Device& gpu, const StepContext& context, Form form) {
  const Tensor& x = context.input(1);
  const Matrix matrix = as_matrix(context, "x", x, x.type);
  expect_shape(context, "dy", context.input(0), x.shape, x.type);
  expect_shape(context, "scale", context.input(2), {matrix.channels});
  expect_shape(context, "mean", context.input(3), {matrix.channels});
  expect_shape(context, "variance", context.input(4), {matrix.channels});
  if (form.activation != Activation::none) expect_shape(context, "bias", context.input(5), {matrix.channels});
  if (form.stored) expect_shape(context, "y", context.input(6), x.shape, x.type);
  expect_shape(context, "dx", context.output(0), x.shape, x.type);
  expect_shape(context, "dscale", context.output(1), {matrix.channels});
  expect_shape(context, "dbias", context.output(2), {matrix.channels});
  if (form.stored) expect_shape(context, "dresidual", context.output(3), x.shape, x.type);
  return for_element(context, "x", x, [&]<class T>(std::type_identity<T>) { return make_backward<T>(gpu, context, matrix, form); });
}

}  // namespace

std::unique_ptr<Kernel> prepare_batch_norm_backward(const Device& gpu, const StepContext& context) {
  const Form form{activation_of(context), context.has_input(6), false};
  if (form.stored && form.activation == Activation::none) context.fail("expected no y without an activation");
  return prepare_backward(gpu, context, form);
}

std::unique_ptr<Kernel> prepare_batch_norm_inference_backward(const Device& gpu, const StepContext& context) {
  return prepare_backward(gpu, context, {Activation::none, false, true});
}

}  // namespace kw::cuda
