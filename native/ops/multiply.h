// The product with a factor that is the same along some axes.
#pragma once

#include <cstdint>
#include <vector>

#include "ops/op.h"

namespace kw {

// Neighbouring axes of x of one kind, as one axis; those of size 1 are left away.
struct FactorAxis {
  int64_t size;
  int64_t stride;  // in the factor; 0 where the factor is the same along the axis
  bool varies() const { return stride != 0; }
};

struct MultiplyStep {
  static constexpr InPlace in_place[] = {{0, 0}};
  explicit MultiplyStep(const StepContext& context);
  const Tensor &x, &factor, &y;
  std::vector<FactorAxis> axes;  // outermost first, of alternating kinds
};

struct MultiplyBackwardFactorStep {
  explicit MultiplyBackwardFactorStep(const StepContext& context);
  const Tensor &dy, &x, &dfactor;
  std::vector<FactorAxis> axes;

  bool sums_nothing() const { return axes.empty() || (axes.size() == 1 && axes[0].varies()); }
};

}  // namespace kw

// Names in plans, and how their steps are read.
#define KW_MULTIPLY_OPS(OP)  \
  OP(multiply, MultiplyStep) \
  OP(multiply_backward_factor, MultiplyBackwardFactorStep)
