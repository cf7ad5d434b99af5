#include "ops/optimizers.h"

#include <string>

namespace kw {

namespace {

int64_t read_decayed(const StepContext& context, int64_t count) {
  const int64_t decayed = context.integer("decayed");
  if (decayed < 0 || decayed > count) {
    context.fail("expected decayed in 0.." + std::to_string(count) + " but received " + std::to_string(decayed));
  }
  return decayed;
}

}  // namespace

SgdStep::SgdStep(const StepContext& context)
    : parameters(context.input(0)),
      gradients(context.input(1)),
      momentum_buffer(context.input(2)),
      learning_rate(context.input(3)),
      weight_decay(context.input(4)),
      count(parameters.elements()),
      momentum(static_cast<float>(context.number("momentum"))) {
  expect_rank(context, "parameters", parameters, 1);
  expect_shape(context, "gradients", gradients, parameters.shape);
  expect_shape(context, "momentumBuffer", momentum_buffer, parameters.shape);
  expect_shape(context, "learningRate", learning_rate, {});
  expect_shape(context, "weightDecay", weight_decay, {});
  decayed = read_decayed(context, count);
  const bool nesterov = context.boolean("nesterov");
  gradient_weight = nesterov ? 1.0f : 0.0f;
  velocity_weight = nesterov ? momentum : 1.0f;
}

AdamwStep::AdamwStep(const StepContext& context)
    : parameters(context.input(0)),
      gradients(context.input(1)),
      first_moment(context.input(2)),
      second_moment(context.input(3)),
      learning_rate(context.input(4)),
      weight_decay(context.input(5)),
      step_number(context.input(6)),
      count(parameters.elements()),
      beta1(context.number("beta1")),
      beta2(context.number("beta2")),
      epsilon(static_cast<float>(context.number("epsilon"))) {
  expect_rank(context, "parameters", parameters, 1);
  expect_shape(context, "gradients", gradients, parameters.shape);
  expect_shape(context, "firstMoment", first_moment, parameters.shape);
  expect_shape(context, "secondMoment", second_moment, parameters.shape);
  expect_shape(context, "learningRate", learning_rate, {});
  expect_shape(context, "weightDecay", weight_decay, {});
  expect_shape(context, "step", step_number, {}, DataType::int32);
  decayed = read_decayed(context, count);
}

}  // namespace kw
