// Batch normalization over all axes but the last, for training and for inference, and the running statistics.
#include "cuda/kernels/batch_norm.cuh"

#include "cuda/batch_norm.h"
#include "cuda/element.h"
#include "cuda/kernel.h"
#include "cuda/launch.h"
#include "cuda/pass.h"

namespace kw::cuda {
namespace {

struct Inputs {
  const Tensor &x, &scale, &bias, &mean, &variance, &y;
  const Tensor* residual;
  double epsilon;
  device::NormActivation activation;

  template <class T>
  device::BatchNorm<T> at(const Memory& memory) const {
    return {memory.data<T>(x),
            residual ? memory.data<T>(*residual) : nullptr,
            memory.data<float>(scale),
            memory.data<float>(bias),
            memory.data<float>(mean),
            memory.data<float>(variance),
            epsilon,
            activation,
            memory.data<T>(y)};
  }
};

template <class T>
bool is_packed(const device::BatchNorm<T>& norm, int64_t channels) {
  return channels % device::kPack<T> == 0 && starts_packs({norm.x, norm.residual, norm.y});
}

template <class T, int kCount>
void normalize(const Device& gpu, const device::BatchNorm<T>& norm, Matrix matrix) {
  const ColumnGrid grid(matrix, kCount, device::kMostLanes, kPassBlocks);
  launch(device::batch_normalize<T, kCount>, grid.blocks(), device::kColumnThreads, 0, gpu.stream, norm, grid.columns);
}

template <class T, int kCount>
void measure_and_normalize(const Device& gpu, const device::BatchNorm<T>& norm, Matrix matrix, float* mean, float* variance,
                           std::byte* scratch) {
  if (matrix.rows <= kFewRows) {
    const ColumnGrid grid = grid_of_few_rows(matrix, kCount);
    launch(device::batch_norm_of_few_rows<T, kCount>, grid.blocks(), device::kColumnThreads, 0, gpu.stream, norm, grid.columns, mean,
           variance);
    return;
  }
  const ColumnGrid grid(matrix, kCount, device::kMostLanes, kSumBlocks), finish = grid_of_parts(grid.parts, matrix.channels);
  auto* parts = reinterpret_cast<double*>(scratch);
  launch(device::batch_moments<T, kCount>, grid.blocks(), device::kColumnThreads, 0, gpu.stream, norm.x, grid.columns, parts);
  launch(device::finish_batch_moments<T>, finish.blocks(), device::kColumnThreads, 0, gpu.stream, norm.x, parts, finish.columns,
         matrix.rows, mean, variance);
  normalize<T, kCount>(gpu, norm, matrix);
}

std::unique_ptr<Kernel> prepare_batch_norm(const Device& gpu, const StepContext& context) {
  const Tensor& x = context.input(0);
  const Matrix matrix = as_matrix(context, "x", x, x.type);
  expect_shape(context, "scale", context.input(1), {matrix.channels});
  expect_shape(context, "bias", context.input(2), {matrix.channels});
  const Tensor* residual = context.has_input(3) ? &context.input(3) : nullptr;
  if (residual) expect_shape(context, "residual", *residual, x.shape, x.type);
  expect_shape(context, "y", context.output(0), x.shape, x.type);
  expect_shape(context, "mean", context.output(1), {matrix.channels});
  expect_shape(context, "variance", context.output(2), {matrix.channels});
  const Inputs inputs{x,
                      context.input(1),
                      context.input(2),
                      context.output(1),
                      context.output(2),
                      context.output(0),
                      residual,
                      context.number("epsilon"),
                      norm_activation(activation_of(context))};
  return for_element(context, "x", x, [&]<class T>(std::type_identity<T>) {
    for (const int count : {1, device::kPack<T>})
      context.reserve_scratch(ColumnGrid(matrix, count, device::kMostLanes, kSumBlocks).part_bytes());
    return make_kernel([&gpu, matrix, inputs](const Memory& memory) {
      const device::BatchNorm<T> norm = inputs.at<T>(memory);
      const auto run = is_packed(norm, matrix.channels) ? measure_and_normalize<T, device::kPack<T>> : measure_and_normalize<T, 1>;
      run(gpu, norm, matrix, memory.data<float>(inputs.mean), memory.data<float>(inputs.variance), memory.scratch());
    });
  });
}

std::unique_ptr<Kernel> prepare_batch_norm_inference(const Device& gpu, const StepContext& context) {
  const Tensor& x = context.input(0);
  const Matrix matrix = as_matrix(context, "x", x, x.type);
  expect_shape(context, "scale", context.input(1), {matrix.channels});
  expect_shape(context, "bias", context.input(2), {matrix.channels});
  expect_shape(context, "mean", context.input(3), {matrix.channels});
  expect_shape(context, "variance", context.input(4), {matrix.channels});
  expect_shape(context, "y", context.output(0), x.shape, x.type);
  const Inputs inputs{x,
                      context.input(1),
                      context.input(2),
                      context.input(3),
                      context.input(4),
                      context.output(0),
                      nullptr,
                      context.number("epsilon"),
                      device::NormActivation::none};
  return for_element(context, "x", x, [&]<class T>(std::type_identity<T>) {
    return make_kernel([&gpu, matrix, inputs](const Memory& memory) {
      const device::BatchNorm<T> norm = inputs.at<T>(memory);
      const auto run = is_packed(norm, matrix.channels) ? normalize<T, device::kPack<T>> : normalize<T, 1>;
      run(gpu, norm, matrix);
    });
  });
}

std::unique_ptr<Kernel> prepare_update_running_statistics(const Device& gpu, const StepContext& context) {
  const Tensor &running_mean = context.input(0), &running_variance = context.input(1);
  const Tensor &mean = context.input(2), &variance = context.input(3);
  const int64_t channels = as_matrix(context, "runningMean", running_mean).channels;
  for (const Tensor* tensor : {&running_mean, &running_variance, &mean, &variance}) {
    expect_shape(context, "statistics", *tensor, {channels});
  }
  const double momentum = context.number("momentum");
  const double count = static_cast<double>(context.integer("count"));
  const float keep = static_cast<float>(1 - momentum), mean_weight = static_cast<float>(momentum);
  const float variance_weight = static_cast<float>(count > 1 ? momentum * count / (count - 1) : momentum);
  return make_kernel([&, channels = static_cast<int>(channels), keep, mean_weight, variance_weight](const Memory& memory) {
    launch(device::update_running_statistics, dim3(static_cast<unsigned>(channels + 255) / 256), 256, 0, gpu.stream,
           memory.data<float>(running_mean), memory.data<float>(running_variance), memory.data<float>(mean), memory.data<float>(variance),
           channels, keep, mean_weight, variance_weight);
  });
}

}  // namespace

void add_batch_norm(KernelRegistry& ops, const Device& gpu) {
  ops.add("batch_norm", [&gpu](const StepContext& context) { return prepare_batch_norm(gpu, context); });
  ops.add("batch_norm_backward", [&gpu](const StepContext& context) { return prepare_batch_norm_backward(gpu, context); });
  ops.add("batch_norm_inference", [&gpu](const StepContext& context) { return prepare_batch_norm_inference(gpu, context); });
  ops.add("batch_norm_inference_backward",
          [&gpu](const StepContext& context) { return prepare_batch_norm_inference_backward(gpu, context); });
  ops.add("update_running_statistics", [&gpu](const StepContext& context) { return prepare_update_running_statistics(gpu, context); });
}

}  // namespace kw::cuda
