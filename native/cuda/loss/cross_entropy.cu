// Softmax cross-entropy with label smoothing, mean over the batch. Targets are class indices (int32 [N]) or probabilities (float32 [N, K]).
#include "cuda/kernels/cross_entropy.cuh"

#include <algorithm>

#include "cuda/grid.h"
#include "cuda/kernel.h"
#include "cuda/launch.h"
#include "ops/op_list.h"

namespace kw::cuda {
namespace {

device::Targets targets_at(const Memory& memory, const Tensor& tensor, const LossShape& shape) {
  device::Targets targets{nullptr, nullptr, shape.classes, shape.smoothing};
  if (shape.class_targets) {
    targets.labels = memory.data<int32_t>(tensor);
  } else {
    targets.weights = memory.data<float>(tensor);
  }
  return targets;
}

// Threads that a row of `classes` keeps busy: full warps, at most kPassThreads.
dim3 row_threads(int64_t classes) {
  return dim3(
      static_cast<unsigned>(std::min<int64_t>(kPassThreads, device::ceil_divide<int64_t>(classes, device::kWarpSize) * device::kWarpSize)));
}

std::unique_ptr<Kernel> prepare_cross_entropy(const Device& gpu, const CrossEntropyStep& step, const KernelContext& context) {
  const LossShape shape = step.shape;
  const auto blocks = static_cast<unsigned>(as_int(context, "samples", shape.samples));
  context.reserve_scratch(static_cast<size_t>(shape.samples) * sizeof(double));
  return make_kernel([&gpu, step, shape, blocks](const Memory& memory) {
    double* losses = reinterpret_cast<double*>(memory.scratch());
    launch(device::softmax_losses, dim3(blocks), row_threads(shape.classes), 0, gpu.stream, memory.data<float>(step.logits),
           targets_at(memory, step.targets, shape), memory.data<float>(step.probabilities), losses);
    launch(device::mean_loss, dim3(1), row_threads(shape.samples), 0, gpu.stream, losses, shape.samples, memory.data<float>(step.loss));
  });
}

std::unique_ptr<Kernel> prepare_cross_entropy_backward(const Device& gpu, const CrossEntropyBackwardStep& step,
                                                       const KernelContext& context) {
  const LossShape shape = step.shape;
  const auto blocks = static_cast<unsigned>(as_int(context, "samples", shape.samples));
  return make_kernel([&gpu, step, shape, blocks](const Memory& memory) {
    launch(device::cross_entropy_backward, dim3(blocks), row_threads(shape.classes), 0, gpu.stream, memory.data<float>(step.dloss),
           memory.data<float>(step.probabilities), targets_at(memory, step.targets, shape), shape.samples,
           memory.data<float>(step.dlogits));
  });
}

}  // namespace

void add_cross_entropy(KernelRegistry& registry, const Device& gpu) {
  add_kernel(registry, gpu, ops::cross_entropy, prepare_cross_entropy);
  add_kernel(registry, gpu, ops::cross_entropy_backward, prepare_cross_entropy_backward);
}

}  // namespace kw::cuda
