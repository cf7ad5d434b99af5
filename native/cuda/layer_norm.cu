// Layer normalization over the last axis, with its gradient.
#include "cuda/kernels/layer_norm.cuh"

#include "cuda/column_grid.h"
#include "cuda/element.h"
#include "cuda/kernel.h"
#include "cuda/lane_grid.h"
#include "cuda/launch.h"
#include "cuda/pass.h"

namespace kw::cuda {
namespace {

template <class T, int kCount>
void run_layer_norm(const Device& gpu, const device::LayerNorm<T>& norm, Matrix matrix) {
  const LaneGrid grid(matrix.rows, matrix.channels, kCount);
  launch(device::layer_norm<T, kCount>, grid.blocks(), device::kGroupThreads, 0, gpu.stream, norm, matrix.rows, matrix.channels,
         grid.lanes);
}

std::unique_ptr<Kernel> prepare_layer_norm(const Device& gpu, const StepContext& context) {
  const Tensor &x = context.input(0), &scale = context.input(1), &bias = context.input(2);
  const Tensor &y = context.output(0), &mean = context.output(1), &variance = context.output(2);
  const Matrix matrix = as_matrix(context, "x", x, x.type);
  expect_shape(context, "scale", scale, {matrix.channels});
  expect_shape(context, "bias", bias, {matrix.channels});
  expect_shape(context, "y", y, x.shape, x.type);
  expect_shape(context, "mean", mean, {matrix.rows});
  expect_shape(context, "variance", variance, {matrix.rows});
  const double epsilon = context.number("epsilon");
  return for_element(context, "x", x, [&]<class T>(std::type_identity<T>) {
    return make_kernel([&gpu, &x, &scale, &bias, &y, &mean, &variance, matrix, epsilon](const Memory& memory) {
      const device::LayerNorm<T> norm = {memory.data<T>(x), memory.data<float>(scale), memory.data<float>(bias),    epsilon,
                                         memory.data<T>(y), memory.data<float>(mean),  memory.data<float>(variance)};
      const auto run = matrix.channels % device::kPack<T> == 0 && starts_packs({norm.x, norm.y}) ? run_layer_norm<T, device::kPack<T>>
                                                                                                 : run_layer_norm<T, 1>;
      run(gpu, norm, matrix);
    });
  });
}

template <class T, int kCount>
void run_backward(const Device& gpu, const device::LayerNormGradient<T>& norm, Matrix matrix, float* dscale, float* dbias,
                  std::byte* scratch) {
  const ColumnGrid sums(matrix, kCount, device::kMostLanes, kSumBlocks), finish = grid_of_parts(sums.parts, matrix.channels);
  auto* parts = reinterpret_cast<double*>(scratch);
  // The sums first: dx may take dy's place.
  launch(device::layer_gradient_sums<T, kCount>, sums.blocks(), device::kColumnThreads, 0, gpu.stream, norm, sums.columns, parts);
  launch(device::finish_layer_gradient_sums, finish.blocks(), device::kColumnThreads, 0, gpu.stream, parts, finish.columns, dscale, dbias);
  const LaneGrid grid(matrix.rows, matrix.channels, kCount);
  launch(device::layer_gradient<T, kCount>, grid.blocks(), device::kGroupThreads, 0, gpu.stream, norm, matrix.rows, matrix.channels,
         grid.lanes);
}

std::unique_ptr<Kernel> prepare_layer_norm_backward(const Device& gpu, const StepContext& context) {
  const Tensor &dy = context.input(0), &x = context.input(1), &scale = context.input(2);
  const Tensor &mean = context.input(3), &variance = context.input(4);
  const Tensor &dx = context.output(0), &dscale = context.output(1), &dbias = context.output(2);
  const Matrix matrix = as_matrix(context, "x", x, x.type);
  expect_shape(context, "dy", dy, x.shape, x.type);
  expect_shape(context, "scale", scale, {matrix.channels});
  expect_shape(context, "mean", mean, {matrix.rows});
  expect_shape(context, "variance", variance, {matrix.rows});
  expect_shape(context, "dx", dx, x.shape, x.type);
  expect_shape(context, "dscale", dscale, {matrix.channels});
  expect_shape(context, "dbias", dbias, {matrix.channels});
  const float epsilon = static_cast<float>(context.number("epsilon"));
  return for_element(context, "x", x, [&]<class T>(std::type_identity<T>) {
    for (const int count : {1, device::kPack<T>})
      context.reserve_scratch(ColumnGrid(matrix, count, device::kMostLanes, kSumBlocks).part_bytes());
    return make_kernel([&gpu, &dy, &x, &scale, &mean, &variance, &dx, &dscale, &dbias, matrix, epsilon](const Memory& memory) {
      const device::LayerNormGradient<T> norm = {
          memory.data<T>(dy),           memory.data<T>(x), memory.data<float>(scale), memory.data<float>(mean),
          memory.data<float>(variance), epsilon,           memory.data<T>(dx)};
      const bool packed = matrix.channels % device::kPack<T> == 0 && starts_packs({norm.dy, norm.x, norm.dx});
      const auto run = packed ? run_backward<T, device::kPack<T>> : run_backward<T, 1>;
      run(gpu, norm, matrix, memory.data<float>(dscale), memory.data<float>(dbias), memory.scratch());
    });
  });
}

}  // namespace

void add_layer_norm(KernelRegistry& ops, const Device& gpu) {
  ops.add("layer_norm", [&gpu](const StepContext& context) { return prepare_layer_norm(gpu, context); });
  ops.add("layer_norm_backward", [&gpu](const StepContext& context) { return prepare_layer_norm_backward(gpu, context); });
}

}  // namespace kw::cuda
