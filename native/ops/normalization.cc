#include "ops/normalization.h"

namespace kw {

namespace {

void expect_vectors(const StepContext& context, std::initializer_list<std::pair<const char*, const Tensor*>> vectors, int64_t size) {
  for (const auto& [name, vector] : vectors) {
    if (vector) expect_shape(context, name, *vector, {size});
  }
}

}  // namespace

BatchNormStep::BatchNormStep(const StepContext& context)
    : x(context.input(0)),
      scale(context.input(1)),
      bias(context.input(2)),
      residual(context.optional_input(3)),
      y(context.output(0)),
      mean(context.output(1)),
      variance(context.output(2)),
      matrix(activation_matrix(context, "x", x)),
      epsilon(context.number("epsilon")),
      activation(read_activation(context)) {
  expect_vectors(context, {{"scale", &scale}, {"bias", &bias}, {"mean", &mean}, {"variance", &variance}}, matrix.channels);
  if (residual) expect_shape(context, "residual", *residual, x.shape, x.type);
  expect_shape(context, "y", y, x.shape, x.type);
}

BatchNormInferenceStep::BatchNormInferenceStep(const StepContext& context)
    : x(context.input(0)),
      scale(context.input(1)),
      bias(context.input(2)),
      mean(context.input(3)),
      variance(context.input(4)),
      y(context.output(0)),
      matrix(activation_matrix(context, "x", x)),
      epsilon(context.number("epsilon")) {
  expect_vectors(context, {{"scale", &scale}, {"bias", &bias}, {"mean", &mean}, {"variance", &variance}}, matrix.channels);
  expect_shape(context, "y", y, x.shape, x.type);
}

BatchNormGradientStep::BatchNormGradientStep(const StepContext& context, Activation activation, bool constant_statistics)
    : dy(context.input(0)),
      x(context.input(1)),
      scale(context.input(2)),
      mean(context.input(3)),
      variance(context.input(4)),
      bias(activation == Activation::none ? nullptr : &context.input(5)),
      y(constant_statistics ? nullptr : context.optional_input(6)),
      dresidual(y ? &context.output(3) : nullptr),
      dx(context.output(0)),
      dscale(context.output(1)),
      dbias(context.output(2)),
      matrix(activation_matrix(context, "x", x)),
      epsilon(context.number("epsilon")),
      activation(activation),
      constant_statistics(constant_statistics) {
  if (y && activation == Activation::none) context.fail("expected no y without an activation");
  expect_shape(context, "dy", dy, x.shape, x.type);
  expect_vectors(context, {{"scale", &scale}, {"mean", &mean}, {"variance", &variance}, {"bias", bias}}, matrix.channels);
  if (y) expect_shape(context, "y", *y, x.shape, x.type);
  expect_shape(context, "dx", dx, x.shape, x.type);
  expect_vectors(context, {{"dscale", &dscale}, {"dbias", &dbias}}, matrix.channels);
  if (dresidual) expect_shape(context, "dresidual", *dresidual, x.shape, x.type);
}

BatchNormBackwardStep::BatchNormBackwardStep(const StepContext& context)
    : BatchNormGradientStep(context, read_activation(context), false) {}

BatchNormInferenceBackwardStep::BatchNormInferenceBackwardStep(const StepContext& context)
    : BatchNormGradientStep(context, Activation::none, true) {}

UpdateRunningStatisticsStep::UpdateRunningStatisticsStep(const StepContext& context)
    : running_mean(context.input(0)),
      running_variance(context.input(1)),
      mean(context.input(2)),
      variance(context.input(3)),
      channels(as_matrix(context, "runningMean", running_mean).channels) {
  for (const Tensor* tensor : {&running_mean, &running_variance, &mean, &variance}) {
    expect_shape(context, "statistics", *tensor, {channels});
  }
  const double momentum = context.number("momentum"), count = static_cast<double>(context.integer("count"));
  keep = static_cast<float>(1 - momentum);
  mean_weight = static_cast<float>(momentum);
  variance_weight = static_cast<float>(count > 1 ? momentum * count / (count - 1) : momentum);
}

LayerNormStep::LayerNormStep(const StepContext& context)
    : x(context.input(0)),
      scale(context.input(1)),
      bias(context.input(2)),
      y(context.output(0)),
      mean(context.output(1)),
      variance(context.output(2)),
      matrix(activation_matrix(context, "x", x)),
      epsilon(context.number("epsilon")) {
  expect_vectors(context, {{"scale", &scale}, {"bias", &bias}}, matrix.channels);
  expect_shape(context, "y", y, x.shape, x.type);
  expect_vectors(context, {{"mean", &mean}, {"variance", &variance}}, matrix.rows);
}

LayerNormBackwardStep::LayerNormBackwardStep(const StepContext& context)
    : dy(context.input(0)),
      x(context.input(1)),
      scale(context.input(2)),
      mean(context.input(3)),
      variance(context.input(4)),
      dx(context.output(0)),
      dscale(context.output(1)),
      dbias(context.output(2)),
      matrix(activation_matrix(context, "x", x)),
      epsilon(context.number("epsilon")) {
  expect_shape(context, "dy", dy, x.shape, x.type);
  expect_vectors(context, {{"scale", &scale}, {"dscale", &dscale}, {"dbias", &dbias}}, matrix.channels);
  expect_vectors(context, {{"mean", &mean}, {"variance", &variance}}, matrix.rows);
  expect_shape(context, "dx", dx, x.shape, x.type);
}

}  // namespace kw
