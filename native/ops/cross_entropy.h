// Softmax cross-entropy with label smoothing, mean over the batch.
#pragma once

#include <cstdint>

#include "ops/op.h"

namespace kw {

struct LossShape {
  int64_t samples, classes;
  bool class_targets;  // targets are class indices (int32 [N]), not probabilities (float32 [N, K])
  double smoothing;
};

struct CrossEntropyStep {
  explicit CrossEntropyStep(const StepContext& context);
  const Tensor &logits, &targets, &loss, &probabilities;
  LossShape shape;
};

struct CrossEntropyBackwardStep {
  static constexpr InPlace in_place[] = {{0, 1}};
  explicit CrossEntropyBackwardStep(const StepContext& context);
  const Tensor &dloss, &probabilities, &targets, &dlogits;
  LossShape shape;
};

}  // namespace kw

// Names in plans, and how their steps are read.
#define KW_CROSS_ENTROPY_OPS(OP)      \
  OP(cross_entropy, CrossEntropyStep) \
  OP(cross_entropy_backward, CrossEntropyBackwardStep)
