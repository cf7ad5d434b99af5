#include "ops/reductions.h"

namespace kw {

SumRowsStep::SumRowsStep(const StepContext& context)
    : x(context.input(0)), y(context.output(0)), matrix(activation_matrix(context, "x", x)) {
  expect_shape(context, "y", y, {matrix.channels});
}

SumOfSquaresStep::SumOfSquaresStep(const StepContext& context) : x(context.input(0)), y(context.output(0)) {
  expect_type(context, "x", x);
  expect_shape(context, "y", y, {});
}

}  // namespace kw
