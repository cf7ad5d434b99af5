#include "ops/self_attention.h"

#include <string>

namespace kw {

namespace {

Heads read_heads(const StepContext& context, const char* name, const Tensor& tokens) {
  expect_rank(context, name, tokens, 3);
  const int64_t heads = context.integer("heads");
  if (heads < 1 || tokens.elements() == 0 || tokens.shape[2] % heads != 0) {
    context.fail("expected tokens [N, T, D], not empty, and heads that divide D, but received shape " + describe(tokens.shape) + " and " +
                 std::to_string(heads) + " heads");
  }
  return {tokens.shape[0], tokens.shape[1], tokens.shape[2], heads};
}

}  // namespace

SelfAttentionStep::SelfAttentionStep(const StepContext& context)
    : query(context.input(0)),
      key(context.input(1)),
      value(context.input(2)),
      y(context.output(0)),
      log_sum_exp(context.output(1)),
      heads(read_heads(context, "query", query)) {
  expect_shape(context, "key", key, query.shape);
  expect_shape(context, "value", value, query.shape);
  expect_shape(context, "y", y, query.shape);
  expect_shape(context, "logSumExp", log_sum_exp, heads.rows());
}

SelfAttentionBackwardStep::SelfAttentionBackwardStep(const StepContext& context)
    : dy(context.input(0)),
      query(context.input(1)),
      key(context.input(2)),
      value(context.input(3)),
      y(context.input(4)),
      log_sum_exp(context.input(5)),
      dquery(context.output(0)),
      dkey(context.output(1)),
      dvalue(context.output(2)),
      heads(read_heads(context, "dy", dy)) {
  expect_shape(context, "query", query, dy.shape);
  expect_shape(context, "key", key, dy.shape);
  expect_shape(context, "value", value, dy.shape);
  expect_shape(context, "y", y, dy.shape);
  expect_shape(context, "logSumExp", log_sum_exp, heads.rows());
  expect_shape(context, "dquery", dquery, dy.shape);
  expect_shape(context, "dkey", dkey, dy.shape);
  expect_shape(context, "dvalue", dvalue, dy.shape);
}

}  // namespace kw
