// Ops that treat every element, or every row of elements, alike.
#pragma once

#include <cstdint>
#include <vector>

#include "ops/op.h"

namespace kw {

struct AddStep {
  static constexpr InPlace in_place[] = {{0, 0}, {0, 1}};
  explicit AddStep(const StepContext& context);
  const Tensor &a, &b, &y;
};

struct AddBiasStep {
  static constexpr InPlace in_place[] = {{0, 0}};
  explicit AddBiasStep(const StepContext& context);
  const Tensor &x, &bias, &y;
  Matrix matrix;  // of x
};

struct CastStep {
  explicit CastStep(const StepContext& context);
  const Tensor &x, &y;
};

struct FillStep {
  explicit FillStep(const StepContext& context);
  const Tensor& y;
  float value;
};

struct CopyStep {
  explicit CopyStep(const StepContext& context);
  const Tensor &destination, &source;
};

struct SliceStep {
  static constexpr InPlace in_place[] = {{0, 0}};  // where all channels are kept
  explicit SliceStep(const StepContext& context);
  const Tensor &x, &y;
  Matrix matrix;  // of x
  int64_t start, width;
};

struct SliceBackwardStep {
  explicit SliceBackwardStep(const StepContext& context);
  const Tensor &dy, &dx;
  Matrix matrix;  // of dy
  int64_t start, size;
};

struct ConcatStep {
  explicit ConcatStep(const StepContext& context);
  std::vector<const Tensor*> parts;
  const Tensor& y;
  Matrix matrix;  // of y
};

}  // namespace kw

// Names in plans, and how their steps are read.
#define KW_ELEMENTWISE_OPS(OP) \
  OP(add, AddStep)             \
  OP(add_bias, AddBiasStep)    \
  OP(cast, CastStep)           \
  OP(concat, ConcatStep)       \
  OP(copy, CopyStep)           \
  OP(fill, FillStep)           \
  OP(slice, SliceStep)         \
  OP(slice_backward, SliceBackwardStep)
