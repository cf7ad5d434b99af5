// Batch normalization over all axes but the last, and layer normalization over the last.
#pragma once

#include <cstdint>

#include "ops/activation.h"
#include "ops/op.h"

namespace kw {

struct BatchNormStep {
  static constexpr InPlace in_place[] = {{0, 0}, {0, 3}};
  explicit BatchNormStep(const StepContext& context);
  const Tensor &x, &scale, &bias;
  const Tensor* residual;
  const Tensor &y, &mean, &variance;
  Matrix matrix;  // of x
  double epsilon;
  Activation activation;
};

struct BatchNormInferenceStep {
  static constexpr InPlace in_place[] = {{0, 0}};
  explicit BatchNormInferenceStep(const StepContext& context);
  const Tensor &x, &scale, &bias, &mean, &variance, &y;
  Matrix matrix;  // of x
  double epsilon;
};

// The gradient of both. With an activation and without a residual, the activation's input is computed again from x with the bias; with a
// residual, `y` tells what passes, and dresidual is the dy that does.
struct BatchNormGradientStep {
  const Tensor &dy, &x, &scale, &mean, &variance;
  const Tensor *bias, *y, *dresidual;  // null where there are none
  const Tensor &dx, &dscale, &dbias;
  Matrix matrix;  // of x
  double epsilon;
  Activation activation = Activation::none;
  bool constant_statistics = false;  // then dx = dy * scale / deviation

 protected:
  BatchNormGradientStep(const StepContext& context, Activation activation, bool constant_statistics);
};

struct BatchNormBackwardStep : BatchNormGradientStep {
  static constexpr InPlace in_place[] = {{0, 0}, {0, 1}, {3, 0}};
  explicit BatchNormBackwardStep(const StepContext& context);
};

struct BatchNormInferenceBackwardStep : BatchNormGradientStep {
  static constexpr InPlace in_place[] = {{0, 0}, {0, 1}};
  explicit BatchNormInferenceBackwardStep(const StepContext& context);
};

// running = keep * running + weight * measured, of each channel.
struct UpdateRunningStatisticsStep {
  explicit UpdateRunningStatisticsStep(const StepContext& context);
  const Tensor &running_mean, &running_variance, &mean, &variance;
  int64_t channels;
  float keep, mean_weight, variance_weight;
};

struct LayerNormStep {
  static constexpr InPlace in_place[] = {{0, 0}};
  explicit LayerNormStep(const StepContext& context);
  const Tensor &x, &scale, &bias, &y, &mean, &variance;
  Matrix matrix;  // of x
  double epsilon;
};

struct LayerNormBackwardStep {
  static constexpr InPlace in_place[] = {{0, 0}, {0, 1}};
  explicit LayerNormBackwardStep(const StepContext& context);
  const Tensor &dy, &x, &scale, &mean, &variance, &dx, &dscale, &dbias;
  Matrix matrix;  // of x
  double epsilon;
};

}  // namespace kw

// Names in plans, and how their steps are read.
#define KW_NORMALIZATION_OPS(OP)                                    \
  OP(batch_norm, BatchNormStep)                                     \
  OP(batch_norm_backward, BatchNormBackwardStep)                    \
  OP(batch_norm_inference, BatchNormInferenceStep)                  \
  OP(batch_norm_inference_backward, BatchNormInferenceBackwardStep) \
  OP(layer_norm, LayerNormStep)                                     \
  OP(layer_norm_backward, LayerNormBackwardStep)                    \
  OP(update_running_statistics, UpdateRunningStatisticsStep)
