#include "ops/activation.h"

#include <string>

namespace kw {

ActivationStep::ActivationStep(const StepContext& context) : x(context.input(0)), y(context.output(0)) {
  expect_activation(context, "x", x);
  expect_shape(context, "y", y, x.shape, x.type);
}

ActivationBackwardStep::ActivationBackwardStep(const StepContext& context)
    : dy(context.input(0)), kept(context.input(1)), dx(context.output(0)) {
  expect_activation(context, "dy", dy);
  expect_shape(context, context.step.op == "gelu_backward" ? "x" : "y", kept, dy.shape, dy.type);
  expect_shape(context, "dx", dx, dy.shape, dy.type);
}

Activation read_activation(const StepContext& context) {
  const std::string name = context.text("activation");
  if (name == "none") return Activation::none;
  if (name == "relu") return Activation::relu;
  if (name == "relu6") return Activation::relu6;
  context.fail("expected activation none, relu or relu6 but received " + name);
}

}  // namespace kw
