// Optimizer steps over a flat arena: SGD with momentum, and AdamW (Loshchilov & Hutter 2019), both as PyTorch computes them. Weight decay
// applies to the arena's first `decayed` elements.
#include <algorithm>
#include <cmath>

#include "cpu/cpu_backend.h"
#include "cpu/parallel.h"
#include "cpu/wide.h"
#include "ops/op_list.h"

namespace kw::cpu {
namespace {

// Calls body(begin, end, decay) on ranges of 0..count, decay being `weight_decay` on elements before `decayed` and 0 after.
template <class Body>
void for_decayed_ranges(int threads, int64_t count, int64_t decayed, float weight_decay, const Body& body) {
  parallel_for(threads, count, kElementsPerThread, [&](int64_t begin, int64_t end) {
    const int64_t border = std::clamp(decayed, begin, end);
    body(begin, border, weight_decay);
    body(border, end, 0.0f);
  });
}

struct SgdRates {
  float rate, momentum;
  float gradient_weight, velocity_weight;
};

KW_WIDE void sgd(float* weights, const float* gradients, float* velocities, int64_t count, float decay, SgdRates rates) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const float gradient = gradients[i] + decay * weights[i];
    const float velocity = rates.momentum * velocities[i] + gradient;
    velocities[i] = velocity;
    weights[i] -= rates.rate * (rates.gradient_weight * gradient + rates.velocity_weight * velocity);
  }
}

std::unique_ptr<Kernel> prepare_sgd(const SgdStep& step, const KernelContext& context) {
  return make_kernel([step, threads = context.threads](const Memory& memory) {
    float *weights = memory.data<float>(step.parameters), *velocities = memory.data<float>(step.momentum_buffer);
    const float* in = memory.data<float>(step.gradients);
    const SgdRates rates{*memory.data<float>(step.learning_rate), step.momentum, step.gradient_weight, step.velocity_weight};
    for_decayed_ranges(
        threads, step.count, step.decayed, *memory.data<float>(step.weight_decay),
        [=](int64_t begin, int64_t end, float decay) { sgd(weights + begin, in + begin, velocities + begin, end - begin, decay, rates); });
  });
}

struct AdamwRates {
  float step_size, inverse_correction;
  float first_weight, second_keep, second_weight, epsilon;
};

KW_WIDE void adamw(float* weights, const float* gradients, float* firsts, float* seconds, int64_t count, float keep, AdamwRates rates) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const float gradient = gradients[i];
    const float first = firsts[i] + rates.first_weight * (gradient - firsts[i]);
    const float second = rates.second_keep * seconds[i] + rates.second_weight * gradient * gradient;
    firsts[i] = first;
    seconds[i] = second;
    weights[i] = keep * weights[i] - rates.step_size * first / (std::sqrt(second) * rates.inverse_correction + rates.epsilon);
  }
}

std::unique_ptr<Kernel> prepare_adamw(const AdamwStep& step, const KernelContext& context) {
  return make_kernel([step, &plan_step = context.step, threads = context.threads](const Memory& memory) {
    const int32_t number = *memory.data<int32_t>(step.step_number);
    if (number < 1) throw data_error(plan_step, "expected a step counted from 1 but received " + std::to_string(number));
    float *weights = memory.data<float>(step.parameters), *firsts = memory.data<float>(step.first_moment),
          *seconds = memory.data<float>(step.second_moment);
    const float* in = memory.data<float>(step.gradients);
    const float rate = *memory.data<float>(step.learning_rate);
    const AdamwRates rates{static_cast<float>(rate / (1 - std::pow(step.beta1, number))),
                           static_cast<float>(1 / std::sqrt(1 - std::pow(step.beta2, number))),
                           static_cast<float>(1 - step.beta1),
                           static_cast<float>(step.beta2),
                           static_cast<float>(1 - step.beta2),
                           step.epsilon};
    for_decayed_ranges(threads, step.count, step.decayed, *memory.data<float>(step.weight_decay),
                       [=](int64_t begin, int64_t end, float decay) {
                         adamw(weights + begin, in + begin, firsts + begin, seconds + begin, end - begin, 1.0f - rate * decay, rates);
                       });
  });
}

KW_WIDE void add_to_average(float* average, const float* values, int64_t count, float decay) {
  const float weight = 1.0f - decay;
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) average[i] = decay * average[i] + weight * values[i];
}

std::unique_ptr<Kernel> prepare_moving_average(const MovingAverageStep& step, const KernelContext& context) {
  return make_kernel([step, threads = context.threads](const Memory& memory) {
    float* average = memory.data<float>(step.average);
    const float *values = memory.data<float>(step.values), decay = *memory.data<float>(step.decay);
    parallel_for(threads, step.count, kElementsPerThread,
                 [=](int64_t begin, int64_t end) { add_to_average(average + begin, values + begin, end - begin, decay); });
  });
}

}  // namespace

void add_optimizers(KernelRegistry& registry) {
  add_kernel(registry, ops::sgd, prepare_sgd);
  add_kernel(registry, ops::adamw, prepare_adamw);
  add_kernel(registry, ops::moving_average, prepare_moving_average);
}

}  // namespace kw::cpu
