// Activations: the ops, and those that other kernels end in.
#pragma once

#include <limits>

#include "ops/op.h"

namespace kw {

// relu, relu6, gelu, sigmoid.
struct ActivationStep {
  static constexpr InPlace in_place[] = {{0, 0}};
  explicit ActivationStep(const StepContext& context);
  const Tensor &x, &y;
};

struct ActivationBackwardStep {
  static constexpr InPlace in_place[] = {{0, 0}, {0, 1}};
  explicit ActivationBackwardStep(const StepContext& context);
  const Tensor& dy;
  const Tensor& kept;  // what the gradient is computed from: the activation's input (gelu) or its output
  const Tensor& dx;
};

// The attribute `activation` of fused steps.
enum class Activation { none, relu, relu6 };

Activation read_activation(const StepContext& context);

// What an activation limits values to.
struct Bounds {
  float least, most;
};

inline Bounds bounds_of(Activation activation) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  return {activation == Activation::none ? -kInfinity : 0.0f, activation == Activation::relu6 ? 6.0f : kInfinity};
}

}  // namespace kw

// Names in plans, and how their steps are read.
#define KW_ACTIVATION_OPS(OP)                \
  OP(gelu, ActivationStep)                   \
  OP(gelu_backward, ActivationBackwardStep)  \
  OP(relu, ActivationStep)                   \
  OP(relu6, ActivationStep)                  \
  OP(relu6_backward, ActivationBackwardStep) \
  OP(relu_backward, ActivationBackwardStep)  \
  OP(sigmoid, ActivationStep)                \
  OP(sigmoid_backward, ActivationBackwardStep)
