// The axes of a tensor in another order.
#pragma once

#include <cstdint>
#include <vector>

#include "ops/op.h"

namespace kw {

// An axis of the result, and the distance between neighbouring elements along it in x.
struct OrderedAxis {
  int64_t size, stride;
};

struct TransposeStep {
  explicit TransposeStep(const StepContext& context);
  const Tensor &x, &y;
  // Outermost first. Axes of size 1 are left out, and neighbours that follow each other in x too are joined.
  std::vector<OrderedAxis> axes;
};

}  // namespace kw

// Names in plans, and how their steps are read.
#define KW_TRANSPOSE_OPS(OP) OP(transpose, TransposeStep)
