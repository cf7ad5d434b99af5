#include "ops/matmul.h"

#include <vector>

namespace kw {

MatmulStep::MatmulStep(const StepContext& context)
    : a(context.input(0)),
      b(context.input(1)),
      c(context.output(0)),
      bias(context.optional_input(2)),
      transpose_a(context.boolean("transposeA")),
      transpose_b(context.boolean("transposeB")) {
  expect_rank(context, "a", a, 2);
  expect_rank(context, "b", b, 2);
  rows = a.shape[transpose_a ? 1 : 0];
  inner = a.shape[transpose_a ? 0 : 1];
  columns = b.shape[transpose_b ? 0 : 1];
  expect_shape(context, "b", b, transpose_b ? std::vector{columns, inner} : std::vector{inner, columns});
  expect_shape(context, "c", c, {rows, columns});
  if (bias) expect_shape(context, "bias", *bias, {columns});
  if (rows < 1 || inner < 1 || columns < 1) context.fail("expected matrices that are not empty");
}

}  // namespace kw
