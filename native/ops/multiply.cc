#include "ops/multiply.h"

namespace kw {

namespace {

std::vector<FactorAxis> factor_axes(const StepContext& context, const std::vector<int64_t>& x, const std::vector<int64_t>& factor) {
  bool fits = x.size() == factor.size();
  for (size_t axis = 0; fits && axis < x.size(); ++axis) fits = factor[axis] == x[axis] || factor[axis] == 1;
  if (!fits) context.fail("expected a factor with axes as in x " + describe(x) + " or 1 but received shape " + describe(factor));
  std::vector<FactorAxis> axes;
  int64_t stride = 1;
  for (size_t axis = x.size(); axis-- > 0;) {
    if (x[axis] == 1) continue;
    const bool varies = factor[axis] != 1;
    if (!axes.empty() && axes.front().varies() == varies) {
      axes.front().size *= x[axis];
    } else {
      axes.insert(axes.begin(), {x[axis], varies ? stride : 0});
    }
    if (varies) stride *= x[axis];
  }
  return axes;
}

}  // namespace

MultiplyStep::MultiplyStep(const StepContext& context) : x(context.input(0)), factor(context.input(1)), y(context.output(0)) {
  expect_activation(context, "x", x);
  expect_type(context, "factor", factor);
  expect_shape(context, "y", y, x.shape, x.type);
  axes = factor_axes(context, x.shape, factor.shape);
}

MultiplyBackwardFactorStep::MultiplyBackwardFactorStep(const StepContext& context)
    : dy(context.input(0)), x(context.input(1)), dfactor(context.output(0)) {
  expect_activation(context, "dy", dy);
  expect_shape(context, "x", x, dy.shape, dy.type);
  expect_shape(context, "dfactor", dfactor, context.integers("factorShape"));
  if (x.elements() == 0) context.fail("expected x that is not empty but received shape " + describe(x.shape));
  axes = factor_axes(context, x.shape, dfactor.shape);
}

}  // namespace kw
