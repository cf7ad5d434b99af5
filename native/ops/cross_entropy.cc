#include "ops/cross_entropy.h"

#include <string>

namespace kw {

namespace {

LossShape loss_shape(const StepContext& context, const char* name, const Tensor& logits, const Tensor& targets) {
  expect_rank(context, name, logits, 2);
  const int64_t samples = logits.shape[0], classes = logits.shape[1];
  if (samples < 1 || classes < 1) context.fail(std::string("expected ") + name + " not to be empty but received " + describe(logits.shape));
  const bool class_targets = targets.type == DataType::int32;
  if (class_targets) {
    expect_shape(context, "targets", targets, {samples}, DataType::int32);
  } else {
    expect_shape(context, "targets", targets, {samples, classes});
  }
  const double smoothing = context.number("labelSmoothing");
  if (!(smoothing >= 0 && smoothing <= 1)) context.fail("expected labelSmoothing in [0, 1] but received " + std::to_string(smoothing));
  return {samples, classes, class_targets, smoothing};
}

}  // namespace

CrossEntropyStep::CrossEntropyStep(const StepContext& context)
    : logits(context.input(0)),
      targets(context.input(1)),
      loss(context.output(0)),
      probabilities(context.output(1)),
      shape(loss_shape(context, "logits", logits, targets)) {
  expect_shape(context, "loss", loss, {});
  expect_shape(context, "probabilities", probabilities, logits.shape);
}

CrossEntropyBackwardStep::CrossEntropyBackwardStep(const StepContext& context)
    : dloss(context.input(0)),
      probabilities(context.input(1)),
      targets(context.input(2)),
      dlogits(context.output(0)),
      shape(loss_shape(context, "probabilities", probabilities, targets)) {
  expect_shape(context, "dloss", dloss, {});
  expect_shape(context, "dlogits", dlogits, probabilities.shape);
}

}  // namespace kw
