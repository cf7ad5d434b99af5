// The product of two matrices.
#pragma once

#include <cstdint>

#include "ops/op.h"

namespace kw {

// c [rows, columns] = op(a) op(b), plus the bias [columns] on each row.
struct MatmulStep {
  explicit MatmulStep(const StepContext& context);
  const Tensor &a, &b, &c;
  const Tensor* bias;
  bool transpose_a, transpose_b;
  int64_t rows, inner, columns;
};

}  // namespace kw

// Names in plans, and how their steps are read.
#define KW_MATMUL_OPS(OP) OP(matmul, MatmulStep)
