// Batch normalization over all axes but the last, for training and for inference, and the running statistics.
#include "cuda/kernels/batch_norm.cuh"

#include "cuda/element.h"
#include "cuda/kernel.h"
#include "cuda/launch.h"
#include "cuda/normalization/batch_norm.h"
#include "cuda/pass.h"
#include "ops/op_list.h"

namespace kw::cuda {
namespace {

template <class T>
device::BatchNorm<T> at(const Memory& memory, const BatchNormStep& step) {
  return {memory.data<T>(step.x),
          step.residual ? memory.data<T>(*step.residual) : nullptr,
          memory.data<float>(step.scale),
          memory.data<float>(step.bias),
          memory.data<float>(step.mean),
          memory.data<float>(step.variance),
          step.epsilon,
          norm_activation(step.activation),
          memory.data<T>(step.y)};
}

template <class T>
device::BatchNorm<T> at(const Memory& memory, const BatchNormInferenceStep& step) {
  return {memory.data<T>(step.x),
          nullptr,
          memory.data<float>(step.scale),
          memory.data<float>(step.bias),
          memory.data<float>(step.mean),
          memory.data<float>(step.variance),
          step.epsilon,
          device::NormActivation::none,
          memory.data<T>(step.y)};
}

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

std::unique_ptr<Kernel> prepare_batch_norm(const Device& gpu, const BatchNormStep& step, const KernelContext& context) {
  as_int(context, "channels", step.matrix.channels);
  return for_element(step.x, [&]<class T>(std::type_identity<T>) {
    for (const int count : {1, device::kPack<T>})
      context.reserve_scratch(ColumnGrid(step.matrix, count, device::kMostLanes, kSumBlocks).part_bytes());
    return make_kernel([&gpu, step](const Memory& memory) {
      const device::BatchNorm<T> norm = at<T>(memory, step);
      const auto run = is_packed(norm, step.matrix.channels) ? measure_and_normalize<T, device::kPack<T>> : measure_and_normalize<T, 1>;
      run(gpu, norm, step.matrix, memory.data<float>(step.mean), memory.data<float>(step.variance), memory.scratch());
    });
  });
}

std::unique_ptr<Kernel> prepare_batch_norm_inference(const Device& gpu, const BatchNormInferenceStep& step, const KernelContext& context) {
  as_int(context, "channels", step.matrix.channels);
  return for_element(step.x, [&]<class T>(std::type_identity<T>) {
    return make_kernel([&gpu, step](const Memory& memory) {
      const device::BatchNorm<T> norm = at<T>(memory, step);
      const auto run = is_packed(norm, step.matrix.channels) ? normalize<T, device::kPack<T>> : normalize<T, 1>;
      run(gpu, norm, step.matrix);
    });
  });
}

std::unique_ptr<Kernel> prepare_update_running_statistics(const Device& gpu, const UpdateRunningStatisticsStep& step,
                                                          const KernelContext& context) {
  const int channels = as_int(context, "channels", step.channels);
  return make_kernel([&gpu, step, channels](const Memory& memory) {
    launch(device::update_running_statistics, dim3((static_cast<unsigned>(channels) + 255) / 256), 256, 0, gpu.stream,
           memory.data<float>(step.running_mean), memory.data<float>(step.running_variance), memory.data<float>(step.mean),
           memory.data<float>(step.variance), channels, step.keep, step.mean_weight, step.variance_weight);
  });
}

}  // namespace

void add_batch_norm(KernelRegistry& registry, const Device& gpu) {
  add_kernel(registry, gpu, ops::batch_norm, prepare_batch_norm);
  add_kernel(registry, gpu, ops::batch_norm_inference, prepare_batch_norm_inference);
  add_batch_norm_backward(registry, gpu);
  add_kernel(registry, gpu, ops::update_running_statistics, prepare_update_running_statistics);
}

}  // namespace kw::cuda
