// Optimizer steps over a flat arena: SGD with momentum, and AdamW (Loshchilov & Hutter 2019), both as PyTorch computes them. Weight decay
// applies to the arena's first `decayed` elements.
#include "cuda/kernels/optimizers.cuh"

#include "cuda/kernel.h"
#include "cuda/pass.h"
#include "ops/op_list.h"

namespace kw::cuda {
namespace {

std::unique_ptr<Kernel> prepare_sgd(const Device& gpu, const SgdStep& step, const KernelContext&) {
  return make_kernel([&gpu, step](const Memory& memory) {
    device::Sgd sgd{};
    sgd.decayed = step.decayed;
    sgd.momentum = step.momentum;
    sgd.gradient_weight = step.gradient_weight;
    sgd.velocity_weight = step.velocity_weight;
    sgd.weights = memory.data<float>(step.parameters);
    sgd.gradients = memory.data<float>(step.gradients);
    sgd.velocities = memory.data<float>(step.momentum_buffer);
    sgd.learning_rate = memory.data<float>(step.learning_rate);
    sgd.weight_decay = memory.data<float>(step.weight_decay);
    const bool packed = starts_packs({sgd.weights, sgd.gradients, sgd.velocities});
    launch(device::sgd, packs_grid<device::kPack<float>>(gpu, step.count, packed), kPassThreads, 0, gpu.stream, sgd, step.count, packed);
  });
}

std::unique_ptr<Kernel> prepare_adamw(const Device& gpu, const AdamwStep& step, const KernelContext&) {
  return make_kernel([&gpu, step](const Memory& memory) {
    device::Adamw adamw{};
    adamw.decayed = step.decayed;
    adamw.beta1 = step.beta1;
    adamw.beta2 = step.beta2;
    adamw.epsilon = step.epsilon;
    adamw.weights = memory.data<float>(step.parameters);
    adamw.gradients = memory.data<float>(step.gradients);
    adamw.firsts = memory.data<float>(step.first_moment);
    adamw.seconds = memory.data<float>(step.second_moment);
    adamw.learning_rate = memory.data<float>(step.learning_rate);
    adamw.weight_decay = memory.data<float>(step.weight_decay);
    adamw.step = memory.data<int32_t>(step.step_number);
    const bool packed = starts_packs({adamw.weights, adamw.gradients, adamw.firsts, adamw.seconds});
    launch(device::adamw, packs_grid<device::kPack<float>>(gpu, step.count, packed), kPassThreads, 0, gpu.stream, adamw, step.count,
           packed);
  });
}

std::unique_ptr<Kernel> prepare_moving_average(const Device& gpu, const MovingAverageStep& step, const KernelContext&) {
  return make_kernel([&gpu, step](const Memory& memory) {
    float* average = memory.data<float>(step.average);
    const float* values = memory.data<float>(step.values);
    const bool packed = starts_packs({average, values});
    launch(device::moving_average, packs_grid<device::kPack<float>>(gpu, step.count, packed), kPassThreads, 0, gpu.stream, average, values,
           memory.data<float>(step.decay), step.count, packed);
  });
}

}  // namespace

void add_optimizers(KernelRegistry& registry, const Device& gpu) {
  add_kernel(registry, gpu, ops::sgd, prepare_sgd);
  add_kernel(registry, gpu, ops::adamw, prepare_adamw);
  add_kernel(registry, gpu, ops::moving_average, prepare_moving_average);
}

}  // namespace kw::cuda
