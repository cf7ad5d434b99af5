// Softmax cross-entropy with label smoothing, mean over the batch. Targets are class indices (int32 [N]) or probabilities (float32 [N, K]).
#include "cuda/kernels/cross_entropy.cuh"

#include <algorithm>

#include "cuda/grid.h"
#include "cuda/kernel.h"
#include "cuda/launch.h"

namespace kw::cuda {
namespace {

device::Targets check_shapes(const StepContext& context, const char* name, const Tensor& logits, const Tensor& targets) {
  expect_rank(context, name, logits, 2);
  const int64_t samples = logits.shape[0], classes = logits.shape[1];
  if (samples < 1 || classes < 1) context.fail(std::string("expected ") + name + " not to be empty but received " + describe(logits.shape));
  if (targets.type == DataType::int32) {
    expect_shape(context, "targets", targets, {samples}, DataType::int32);
  } else {
    expect_shape(context, "targets", targets, {samples, classes});
  }
  const double smoothing = context.number("labelSmoothing");
  if (!(smoothing >= 0 && smoothing <= 1)) context.fail("expected labelSmoothing in [0, 1] but received " + std::to_string(smoothing));
  return {nullptr, nullptr, classes, smoothing};
}

device::Targets bound(device::Targets targets, const Memory& memory, const Tensor& tensor) {
  if (tensor.type == DataType::int32) {
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

std::unique_ptr<Kernel> prepare_cross_entropy(const Device& gpu, const StepContext& context) {
  const Tensor &logits = context.input(0), &targets = context.input(1), &loss = context.output(0), &probabilities = context.output(1);
  const device::Targets shape = check_shapes(context, "logits", logits, targets);
  expect_shape(context, "loss", loss, {});
  expect_shape(context, "probabilities", probabilities, logits.shape);
  const int64_t samples = logits.shape[0];
  context.reserve_scratch(static_cast<size_t>(samples) * sizeof(double));
  return make_kernel([&, shape, samples](const Memory& memory) {
    double* losses = reinterpret_cast<double*>(memory.scratch());
    launch(device::softmax_losses, dim3(static_cast<unsigned>(samples)), row_threads(shape.classes), 0, gpu.stream,
           memory.data<float>(logits), bound(shape, memory, targets), memory.data<float>(probabilities), losses);
    launch(device::mean_loss, dim3(1), row_threads(samples), 0, gpu.stream, losses, samples, memory.data<float>(loss));
  });
}

std::unique_ptr<Kernel> prepare_cross_entropy_backward(const Device& gpu, const StepContext& context) {
  const Tensor &dloss = context.input(0), &probabilities = context.input(1), &targets = context.input(2), &dlogits = context.output(0);
  const device::Targets shape = check_shapes(context, "probabilities", probabilities, targets);
  expect_shape(context, "dloss", dloss, {});
  expect_shape(context, "dlogits", dlogits, probabilities.shape);
  const int64_t samples = probabilities.shape[0];
  return make_kernel([&, shape, samples](const Memory& memory) {
    launch(device::cross_entropy_backward, dim3(static_cast<unsigned>(samples)), row_threads(shape.classes), 0, gpu.stream,
           memory.data<float>(dloss), memory.data<float>(probabilities), bound(shape, memory, targets), samples,
           memory.data<float>(dlogits));
  });
}

}  // namespace

void add_cross_entropy(KernelRegistry& ops, const Device& gpu) {
  ops.add("cross_entropy", [&gpu](const StepContext& context) { return prepare_cross_entropy(gpu, context); });
  ops.add("cross_entropy_backward", [&gpu](const StepContext& context) { return prepare_cross_entropy_backward(gpu, context); });
}

}  // namespace kw::cuda
