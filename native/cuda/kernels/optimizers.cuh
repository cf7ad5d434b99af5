// Optimizer steps: one pass over a flat arena. What changes between steps is read from the GPU's memory. Weight decay applies to the
// arena's first `decayed` elements.
#pragma once

#include "cuda/kernels/pack.cuh"

namespace kw::cuda::device {

struct Sgd {
  float* weights;
  const float* gradients;
  float* velocities;
  const float *learning_rate, *weight_decay;
  long long decayed;
  float momentum;
  float gradient_weight, velocity_weight;  // nesterov: g + momentum * v, otherwise v
};

__global__ void sgd(Sgd step, long long count, bool packed) {
  const float rate = *step.learning_rate, decay = *step.weight_decay;
  for_packs<kPack<float>>(count, packed, [&](long long i, auto width) {
    auto weights = load_pack<width.value>(step.weights + i), velocities = load_pack<width.value>(step.velocities + i);
    const auto gradients = load_pack<width.value>(step.gradients + i);
#pragma unroll
    for (int k = 0; k < width.value; ++k) {
      const float gradient = gradients[k] + (i + k < step.decayed ? decay : 0.0f) * weights[k];
      velocities[k] = step.momentum * velocities[k] + gradient;
      weights[k] -= rate * (step.gradient_weight * gradient + step.velocity_weight * velocities[k]);
    }
    store_pack(step.velocities + i, velocities);
    store_pack(step.weights + i, weights);
  });
}

struct Adamw {
  float* weights;
  const float* gradients;
  float *firsts, *seconds;
  const float *learning_rate, *weight_decay;
  const std::int32_t* step;  // counted from 1
  long long decayed;
  double beta1, beta2;
  float epsilon;
};

struct AdamwRates {
  float step_size, inverse_correction;
};

// NaN for a step before the first, which the host cannot refuse without waiting for the GPU.
__device__ __forceinline__ AdamwRates adamw_rates(const Adamw& step) {
  const int number = *step.step;
  if (number < 1) return {bits_to_float(0x7fc00000u), bits_to_float(0x7fc00000u)};
  return {static_cast<float>(*step.learning_rate / (1 - pow(step.beta1, static_cast<double>(number)))),
          static_cast<float>(1 / sqrt(1 - pow(step.beta2, static_cast<double>(number))))};
}

__global__ void adamw(Adamw step, long long count, bool packed) {
  AdamwRates* shared = shared_array<struct SharedRates, AdamwRates, 1>();
  if (threadIdx.x == 0) *shared = adamw_rates(step);
  syncthreads();
  const AdamwRates rates = *shared;
  const float kept = 1.0f - *step.learning_rate * *step.weight_decay;
  const float first_weight = static_cast<float>(1 - step.beta1), second_keep = static_cast<float>(step.beta2),
              second_weight = static_cast<float>(1 - step.beta2);
  for_packs<kPack<float>>(count, packed, [&](long long i, auto width) {
    auto weights = load_pack<width.value>(step.weights + i), firsts = load_pack<width.value>(step.firsts + i),
         seconds = load_pack<width.value>(step.seconds + i);
    const auto gradients = load_pack<width.value>(step.gradients + i);
#pragma unroll
    for (int k = 0; k < width.value; ++k) {
      firsts[k] += first_weight * (gradients[k] - firsts[k]);
      seconds[k] = second_keep * seconds[k] + second_weight * gradients[k] * gradients[k];
      weights[k] = (i + k < step.decayed ? kept : 1.0f) * weights[k] -
                   rates.step_size * firsts[k] / (sqrtf(seconds[k]) * rates.inverse_correction + step.epsilon);
    }
    store_pack(step.firsts + i, firsts);
    store_pack(step.seconds + i, seconds);
    store_pack(step.weights + i, weights);
  });
}

// average = decay * average + (1 - decay) * values.
__global__ void moving_average(float* average, const float* values, const float* decay, long long count, bool packed) {
  const float kept = *decay, weight = 1.0f - kept;
  for_packs<kPack<float>>(count, packed, [&](long long i, auto width) {
    auto averages = load_pack<width.value>(average + i);
    const auto added = load_pack<width.value>(values + i);
#pragma unroll
    for (int k = 0; k < width.value; ++k) averages[k] = kept * averages[k] + weight * added[k];
    store_pack(average + i, averages);
  });
}

}  // namespace kw::cuda::device
