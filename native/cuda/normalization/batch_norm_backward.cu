// The gradients of batch normalization, with statistics of the batch and with constant ones.
#include "cuda/kernels/batch_norm_backward.cuh"

#include "cuda/element.h"
#include "cuda/kernel.h"
#include "cuda/launch.h"
#include "cuda/normalization/batch_norm.h"
#include "cuda/pass.h"
#include "ops/op_list.h"

namespace kw::cuda {
namespace {

// Channels of a thread: with more, the sums and the rows on their way would not fit its registers.
constexpr int kChannels = 4;

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

std::unique_ptr<Kernel> prepare_backward(const Device& gpu, const BatchNormGradientStep& step, const KernelContext& context) {
  as_int(context, "channels", step.matrix.channels);
  for (const int count : {1, kChannels}) {
    const ColumnGrid sums(step.matrix, count, device::kMostLanes, kSumBlocks);
    context.reserve_scratch(sums.part_bytes() + 2 * static_cast<size_t>(step.matrix.channels) * sizeof(float));
  }
  return for_element(step.x, [&]<class T>(std::type_identity<T>) {
    return make_kernel([&gpu, step](const Memory& memory) {
      const device::BatchNormGradient<T> norm = {memory.data<T>(step.dy),
                                                 memory.data<T>(step.x),
                                                 memory.data<float>(step.scale),
                                                 memory.data<float>(step.mean),
                                                 memory.data<float>(step.variance),
                                                 step.bias ? memory.data<float>(*step.bias) : nullptr,
                                                 step.y ? memory.data<T>(*step.y) : nullptr,
                                                 step.epsilon,
                                                 norm_activation(step.activation),
                                                 step.constant_statistics,
                                                 memory.data<T>(step.dx),
                                                 memory.data<float>(step.dscale),
                                                 memory.data<float>(step.dbias),
                                                 step.dresidual ? memory.data<T>(*step.dresidual) : nullptr};
      const bool packed = step.matrix.channels % kChannels == 0 && starts_packs({norm.dy, norm.x, norm.y, norm.dx, norm.passed});
      const auto run = packed ? run_backward<T, kChannels> : run_backward<T, 1>;
      run(gpu, norm, step.matrix, memory.scratch());
    });
  });
}

}  // namespace

void add_batch_norm_backward(KernelRegistry& registry, const Device& gpu) {
  const auto prepare = [&gpu](const BatchNormGradientStep& step, const KernelContext& context) {
    return prepare_backward(gpu, step, context);
  };
  kw::add_kernel(registry, ops::batch_norm_backward, prepare);
  kw::add_kernel(registry, ops::batch_norm_inference_backward, prepare);
}

}  // namespace kw::cuda
