// What the forward and the backward of batch normalization share: the activation that a batch_norm may end in, and the formula of its
// value, which both compute from the same expression so that they decide alike where it is limited.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>

#include "cpu/kernel.h"

namespace kw::cpu {

enum class Activation { none, relu, relu6 };

// The step's attribute `activation`; refuses other words (invalid_plan).
inline Activation activation_of(const StepContext& context) {
  const std::string name = context.text("activation");
  if (name == "none") return Activation::none;
  if (name == "relu") return Activation::relu;
  if (name == "relu6") return Activation::relu6;
  context.fail("expected activation none, relu or relu6 but received " + name);
}

inline float inverse_deviation(float variance, double epsilon) { return static_cast<float>(1.0 / std::sqrt(variance + epsilon)); }

// factor is scale / deviation. Always inlined, as are the two below: loops compiled for several instruction sets use them.
[[gnu::always_inline]] inline float normalized(float x, float mean, float factor, float bias) { return (x - mean) * factor + bias; }

template <Activation kActivation>
[[gnu::always_inline]] inline float activated(float value) {
  if constexpr (kActivation == Activation::none) return value;
  const float positive = 0.0f > value ? 0.0f : value;  // this order lets a NaN through
  if constexpr (kActivation == Activation::relu) return positive;
  return 6.0f < positive ? 6.0f : positive;
}

// The gradient where the activation lets it pass, by its input or its output.
template <Activation kActivation>
[[gnu::always_inline]] inline float masked(float gradient, float value) {
  if constexpr (kActivation == Activation::none) return gradient;
  const float positive = value > 0.0f ? gradient : 0.0f;
  if constexpr (kActivation == Activation::relu) return positive;
  return value < 6.0f ? positive : 0.0f;
}

std::unique_ptr<Kernel> prepare_batch_norm_backward(const StepContext& context);
std::unique_ptr<Kernel> prepare_batch_norm_inference_backward(const StepContext& context);

}  // namespace kw::cpu
