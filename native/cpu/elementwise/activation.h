// The activations that other kernels end in, inside their loops.
#pragma once

#include "ops/activation.h"

namespace kw::cpu {

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
