// The activations that other kernels end in: the attribute `activation` of fused steps.
#pragma once

#include <limits>
#include <string>

#include "runtime/backend.h"

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

// What an activation limits values to.
struct Bounds {
  float least, most;
};

inline Bounds bounds_of(Activation activation) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  return {activation == Activation::none ? -kInfinity : 0.0f, activation == Activation::relu6 ? 6.0f : kInfinity};
}

// Always inlined: loops compiled for several instruction sets use them. The order of the comparisons lets a NaN through.
[[gnu::always_inline]] inline float limited(float value, Bounds bounds) {
  const float above = bounds.least > value ? bounds.least : value;
  return bounds.most < above ? bounds.most : above;
}

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

}  // namespace kw::cpu
