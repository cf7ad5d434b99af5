// Dropout of elements, or of whole samples (stochastic depth).
#pragma once

#include <cstdint>

#include "ops/op.h"

namespace kw {

struct DropoutStep {
  static constexpr InPlace in_place[] = {{0, 0}};
  explicit DropoutStep(const StepContext& context);
  const Tensor &x, &seed, &step, &y;
  uint32_t stream;
  int64_t draws;       // random numbers
  int64_t width;       // elements that share one
  uint64_t threshold;  // dropped where a random number of 32 bits is below it
  float kept;          // what the others are multiplied with
};

}  // namespace kw

// Names in plans, and how their steps are read.
#define KW_DROPOUT_OPS(OP) OP(dropout, DropoutStep)
