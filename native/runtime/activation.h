// The activations that other kernels end in: the attribute `activation` of fused steps.
#pragma once

#include <limits>
#include <string>

#include "runtime/backend.h"

namespace kw {

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

}  // namespace kw
