#include "ops/attention.h"

#include <array>
#include <string>
#include <utility>

namespace kw {

namespace {

AttentionFunction read_function(const StepContext& context) {
  constexpr std::array<std::pair<const char*, AttentionFunction>, 4> functions = {{{"contrasting", AttentionFunction::contrasting},
                                                                                   {"softmax", AttentionFunction::softmax},
                                                                                   {"sigmoid", AttentionFunction::sigmoid},
                                                                                   {"rectified", AttentionFunction::rectified}}};
  const std::string name = context.text("function");
  for (const auto& [known, function] : functions) {
    if (name == known) return function;
  }
  context.fail("expected function contrasting, softmax, sigmoid or rectified but received '" + name + "'");
}

// `temperature` and `softmax_temperature` are positions in the inputs.
AttentionRule read_rule(const StepContext& context, int64_t mixtures, int64_t cells, int64_t columns, size_t temperature,
                        size_t softmax_temperature) {
  AttentionRule rule{read_function(context),
                     static_cast<float>(context.number("epsilon")),
                     mixtures,
                     cells,
                     columns,
                     context.integer_lists("assignment"),
                     context.input(temperature),
                     context.optional_input(softmax_temperature)};
  expect_shape(context, "temperature", rule.temperature, {});
  if (rule.softmax_temperature) expect_shape(context, "softmax temperature", *rule.softmax_temperature, {});
  if (rule.assignment.empty()) return rule;
  if (static_cast<int64_t>(rule.assignment.size()) != mixtures) {
    context.fail("expected attribute assignment with " + std::to_string(mixtures) + " lists, or none, but received " +
                 std::to_string(rule.assignment.size()));
  }
  for (size_t mixture = 0; mixture < rule.assignment.size(); ++mixture) {
    for (const int64_t cell : rule.assignment[mixture]) {
      if (cell < 0 || cell >= columns) {
        context.fail("expected cell indices in 0.." + std::to_string(columns - 1) + " but assignment of mixture " +
                     std::to_string(mixture) + " holds " + std::to_string(cell));
      }
    }
  }
  return rule;
}

// Of logits [N, m, columns]; `attention` [N, m, n] may be a gradient.
AttentionRule read_rule(const StepContext& context, const Tensor& logits, const Tensor& attention, size_t temperature) {
  expect_rank(context, "logits", logits, 3);
  const bool zero_cell = context.boolean("zeroCell");
  const int64_t samples = logits.shape[0], mixtures = logits.shape[1], columns = logits.shape[2], cells = columns - zero_cell;
  if (cells < 1) {
    const std::string expected = zero_cell ? "at least one cell and the zero cell" : "at least one cell";
    context.fail("expected logits of " + expected + " but received shape " + describe(logits.shape));
  }
  expect_shape(context, "attention", attention, {samples, mixtures, cells});
  return read_rule(context, mixtures, cells, columns, temperature, temperature + 1);
}

AttentionRule read_module_rule(const StepContext& context, const Tensor& attention) {
  expect_rank(context, "attention", attention, 3);
  const int64_t cells = attention.shape[2];
  return read_rule(context, attention.shape[1], cells, cells + context.boolean("zeroCell"), 9, 10);
}

}  // namespace

AttentionFunctionStep::AttentionFunctionStep(const StepContext& context)
    : logits(context.input(0)),
      attention(context.output(0)),
      rule(read_rule(context, logits, attention, 1)),
      rows(logits.shape[0] * rule.mixtures) {}

AttentionFunctionBackwardStep::AttentionFunctionBackwardStep(const StepContext& context)
    : dattention(context.input(0)),
      logits(context.input(1)),
      dlogits(context.output(0)),
      rule(read_rule(context, logits, dattention, 2)),
      rows(logits.shape[0] * rule.mixtures) {
  expect_shape(context, "dlogits", dlogits, logits.shape);
}

AttentionModuleStep::AttentionModuleStep(const StepContext& context)
    : pooled(context.input(0)),
      first_weight(context.input(1)),
      second_weight(context.input(7)),
      second_bias(context.input(8)),
      first_bias(context.optional_input(2)),
      scale(context.optional_input(3)),
      shift(context.optional_input(4)),
      mean(context.optional_input(5)),
      variance(context.optional_input(6)),
      attention(context.output(0)),
      rule(read_module_rule(context, attention)),
      norm_epsilon(context.number("normEpsilon")) {
  if (!scale != !shift) context.fail("expected both scale and shift, or neither");
  if (!mean != !variance) context.fail("expected both mean and variance, or neither");
  if (mean && !scale) context.fail("expected scale and shift where there are mean and variance");
  expect_rank(context, "pooled", pooled, 2);
  expect_rank(context, "first weight", first_weight, 2);
  samples = pooled.shape[0];
  channels = pooled.shape[1];
  hidden = first_weight.shape[0];
  expect_shape(context, "attention", attention, {samples, rule.mixtures, rule.cells});
  expect_shape(context, "first weight", first_weight, {hidden, channels});
  for (const Tensor* vector : {first_bias, scale, shift, mean, variance}) {
    if (vector) expect_shape(context, "vector", *vector, {hidden});
  }
  const int64_t logits = checked_product(context, "logits of a sample", {rule.mixtures, rule.columns});
  expect_shape(context, "second weight", second_weight, {logits, hidden});
  expect_shape(context, "second bias", second_bias, {logits});
  hidden_elements = checked_product(context, "hidden values", {samples, hidden});
  logit_elements = checked_product(context, "logits", {samples, logits});
}

}  // namespace kw
