// Optimizer steps over a flat arena. Weight decay applies to the arena's first `decayed` elements.
#pragma once

#include <cstdint>

#include "ops/op.h"

namespace kw {

struct SgdStep {
  explicit SgdStep(const StepContext& context);
  const Tensor &parameters, &gradients, &momentum_buffer, &learning_rate, &weight_decay;
  int64_t count, decayed;
  float momentum;
  float gradient_weight, velocity_weight;  // what a weight moves by: Nesterov's is g + momentum * v, otherwise it is v
};

struct AdamwStep {
  explicit AdamwStep(const StepContext& context);
  const Tensor &parameters, &gradients, &first_moment, &second_moment, &learning_rate, &weight_decay, &step_number;
  int64_t count, decayed;
  double beta1, beta2;
  float epsilon;
};

// A moving average of an arena, such as of the weights: average = decay * average + (1 - decay) * values.
struct MovingAverageStep {
  explicit MovingAverageStep(const StepContext& context)
      : average(context.input(0)), values(context.input(1)), decay(context.input(2)), count(average.elements()) {
    expect_rank(context, "average", average, 1);
    expect_shape(context, "values", values, average.shape);
    expect_shape(context, "decay", decay, {});
  }
  const Tensor &average, &values, &decay;
  int64_t count;
};

}  // namespace kw

// Names in plans, and how their steps are read.
#define KW_OPTIMIZERS_OPS(OP)           \
  OP(adamw, AdamwStep)                  \
  OP(moving_average, MovingAverageStep) \
  OP(sgd, SgdStep)
