// Optimizer steps over a flat arena: SGD with momentum, and AdamW (Loshchilov & Hutter 2019), both as PyTorch computes them. Weight decay
// applies to the arena's first `decayed` elements.
#include <algorithm>
#include <cmath>

#include "cpu/cpu_backend.h"
#include "cpu/parallel.h"
#include "cpu/wide.h"
#include "runtime/kernel_checks.h"

namespace kw::cpu {
namespace {

int64_t decayed_elements(const StepContext& context, int64_t count) {
  const int64_t decayed = context.integer("decayed");
  if (decayed < 0 || decayed > count) {
    context.fail("expected decayed in 0.." + std::to_string(count) + " but received " + std::to_string(decayed));
  }
  return decayed;
}

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
  float gradient_weight, velocity_weight;  // nesterov: g + momentum * v, otherwise v
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

std::unique_ptr<Kernel> prepare_sgd(const StepContext& context) {
  const Tensor &parameters = context.input(0), &gradients = context.input(1), &momentum_buffer = context.input(2);
  const Tensor &learning_rate = context.input(3), &weight_decay = context.input(4);
  expect_rank(context, "parameters", parameters, 1);
  expect_shape(context, "gradients", gradients, parameters.shape);
  expect_shape(context, "momentumBuffer", momentum_buffer, parameters.shape);
  expect_shape(context, "learningRate", learning_rate, {});
  expect_shape(context, "weightDecay", weight_decay, {});
  const int64_t count = parameters.elements(), decayed = decayed_elements(context, count);
  const float momentum = static_cast<float>(context.number("momentum"));
  const bool nesterov = context.boolean("nesterov");
  return make_kernel([&, count, decayed, momentum, nesterov, threads = context.threads](const Memory& memory) {
    float *weights = memory.data<float>(parameters), *velocities = memory.data<float>(momentum_buffer);
    const float* in = memory.data<float>(gradients);
    const SgdRates rates{*memory.data<float>(learning_rate), momentum, nesterov ? 1.0f : 0.0f, nesterov ? momentum : 1.0f};
    for_decayed_ranges(threads, count, decayed, *memory.data<float>(weight_decay), [=](int64_t begin, int64_t end, float decay) {
      sgd(weights + begin, in + begin, velocities + begin, end - begin, decay, rates);
    });
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

std::unique_ptr<Kernel> prepare_adamw(const StepContext& context) {
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
  const int64_t count = parameters.elements(), decayed = decayed_elements(context, count);
  const double beta1 = context.number("beta1"), beta2 = context.number("beta2");
  const float epsilon = static_cast<float>(context.number("epsilon"));
  return make_kernel([&, &step = context.step, count, decayed, beta1, beta2, epsilon, threads = context.threads](const Memory& memory) {
    const int32_t number = *memory.data<int32_t>(step_number);
    if (number < 1) {
      throw Error(ErrorCode::invalid_argument,
                  "[" + step.op + "] " + step.label + ": expected a step counted from 1 but received " + std::to_string(number));
    }
    float *weights = memory.data<float>(parameters), *firsts = memory.data<float>(first_moment),
          *seconds = memory.data<float>(second_moment);
    const float* in = memory.data<float>(gradients);
    const float rate = *memory.data<float>(learning_rate);
    const AdamwRates rates{static_cast<float>(rate / (1 - std::pow(beta1, number))),
                           static_cast<float>(1 / std::sqrt(1 - std::pow(beta2, number))),
                           static_cast<float>(1 - beta1),
                           static_cast<float>(beta2),
                           static_cast<float>(1 - beta2),
                           epsilon};
    for_decayed_ranges(threads, count, decayed, *memory.data<float>(weight_decay), [=](int64_t begin, int64_t end, float decay) {
      adamw(weights + begin, in + begin, firsts + begin, seconds + begin, end - begin, 1.0f - rate * decay, rates);
    });
  });
}

}  // namespace

void add_optimizers(KernelRegistry& registry) {
  registry.add("sgd", prepare_sgd);
  registry.add("adamw", prepare_adamw);
}

}  // namespace kw::cpu
