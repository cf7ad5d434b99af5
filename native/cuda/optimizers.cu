// Optimizer steps over a flat arena: SGD with momentum, and AdamW (Loshchilov & Hutter 2019), both as PyTorch computes them. Weight decay
// applies to the arena's first `decayed` elements.
#include "cuda/kernels/optimizers.cuh"

#include "cuda/kernel.h"
#include "cuda/pass.h"

namespace kw::cuda {
namespace {

int64_t decayed_elements(const StepContext& context, int64_t count) {
  const int64_t decayed = context.integer("decayed");
  if (decayed < 0 || decayed > count) {
    context.fail("expected decayed in 0.." + std::to_string(count) + " but received " + std::to_string(decayed));
  }
  return decayed;
}

std::unique_ptr<Kernel> prepare_sgd(const Device& gpu, const StepContext& context) {
  const Tensor &parameters = context.input(0), &gradients = context.input(1), &momentum_buffer = context.input(2);
  const Tensor &learning_rate = context.input(3), &weight_decay = context.input(4);
  expect_rank(context, "parameters", parameters, 1);
  expect_shape(context, "gradients", gradients, parameters.shape);
  expect_shape(context, "momentumBuffer", momentum_buffer, parameters.shape);
  expect_shape(context, "learningRate", learning_rate, {});
  expect_shape(context, "weightDecay", weight_decay, {});
  const int64_t count = parameters.elements();
  device::Sgd prepared{};
  prepared.decayed = decayed_elements(context, count);
  prepared.momentum = static_cast<float>(context.number("momentum"));
  const bool nesterov = context.boolean("nesterov");
  prepared.gradient_weight = nesterov ? 1.0f : 0.0f;
  prepared.velocity_weight = nesterov ? prepared.momentum : 1.0f;
  return make_kernel([&, prepared, count](const Memory& memory) {
    device::Sgd step = prepared;
    step.weights = memory.data<float>(parameters);
    step.gradients = memory.data<float>(gradients);
    step.velocities = memory.data<float>(momentum_buffer);
    step.learning_rate = memory.data<float>(learning_rate);
    step.weight_decay = memory.data<float>(weight_decay);
    const bool packed = starts_packs({step.weights, step.gradients, step.velocities});
    launch(device::sgd, packs_grid<device::kPack<float>>(gpu, count, packed), kPassThreads, 0, gpu.stream, step, count, packed);
  });
}

std::unique_ptr<Kernel> prepare_adamw(const Device& gpu, const StepContext& context) {
  const Tensor &parameters = context.input(0), &gradients = context.input(1);
  const Tensor &first_moment = context.input(2), &second_moment = context.input(3);
  const Tensor &learning_rate = context.input(4), &weight_decay = context.input(5), &step_number = context.input(6);
  expect_rank(context, "parameters", parameters, 1);
  expect_shape(context, "gradients", gradients, parameters.shape);
  expect_shape(context, "firstMoment", first_moment, parameters.shape);
  expect_shape(context, "secondMoment", second_moment, parameters.shape);
  expect_shape(context, "learningRate", learning_rate, {});
  expect_shape(context, "weightDecay", weight_decay, {});
  expect_shape(context, "step", step_number, {}, DataType::int32);
  const int64_t count = parameters.elements();
  device::Adamw prepared{};
  prepared.decayed = decayed_elements(context, count);
  prepared.beta1 = context.number("beta1");
  prepared.beta2 = context.number("beta2");
  prepared.epsilon = static_cast<float>(context.number("epsilon"));
  return make_kernel([&, prepared, count](const Memory& memory) {
    device::Adamw step = prepared;
    step.weights = memory.data<float>(parameters);
    step.gradients = memory.data<float>(gradients);
    step.firsts = memory.data<float>(first_moment);
    step.seconds = memory.data<float>(second_moment);
    step.learning_rate = memory.data<float>(learning_rate);
    step.weight_decay = memory.data<float>(weight_decay);
    step.step = memory.data<int32_t>(step_number);
    const bool packed = starts_packs({step.weights, step.gradients, step.firsts, step.seconds});
    launch(device::adamw, packs_grid<device::kPack<float>>(gpu, count, packed), kPassThreads, 0, gpu.stream, step, count, packed);
  });
}

}  // namespace

void add_optimizers(KernelRegistry& ops, const Device& gpu) {
  ops.add("sgd", [&gpu](const StepContext& context) { return prepare_sgd(gpu, context); });
  ops.add("adamw", [&gpu](const StepContext& context) { return prepare_adamw(gpu, context); });
}

}  // namespace kw::cuda
