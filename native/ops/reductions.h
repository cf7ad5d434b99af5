// Sums over axes.
#pragma once

#include "ops/op.h"

namespace kw {

struct SumRowsStep {
  explicit SumRowsStep(const StepContext& context);
  const Tensor &x, &y;
  Matrix matrix;  // of x
};

struct SumOfSquaresStep {
  explicit SumOfSquaresStep(const StepContext& context);
  const Tensor &x, &y;
};

}  // namespace kw

// Names in plans, and how their steps are read.
#define KW_REDUCTIONS_OPS(OP)          \
  OP(sum_of_squares, SumOfSquaresStep) \
  OP(sum_rows, SumRowsStep)
