#include "cuda/attention_rule.h"

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "runtime/kernel_checks.h"

namespace kw::cuda {
namespace {

device::AttentionFunction read_function(const StepContext& context) {
  const std::array<std::pair<const char*, device::AttentionFunction>, 4> functions = {
      {{"contrasting", device::AttentionFunction::contrasting},
       {"softmax", device::AttentionFunction::softmax},
       {"sigmoid", device::AttentionFunction::sigmoid},
       {"rectified", device::AttentionFunction::rectified}}};
  const std::string name = context.text("function");
  for (const auto& [known, function] : functions) {
    if (name == known) return function;
  }
  context.fail("expected function contrasting, softmax, sigmoid or rectified but received '" + name + "'");
}

// For each mixture the cells whose beta is 1, as bits; index `cells` stands for the zero cell, which has no output. Empty: no assignment.
std::vector<uint32_t> read_assignment(const StepContext& context, int64_t mixtures, int64_t cells, int64_t columns) {
  const std::vector<std::vector<int64_t>> assignment = context.integer_lists("assignment");
  if (assignment.empty()) return {};
  if (assignment.size() != static_cast<size_t>(mixtures)) {
    context.fail("expected attribute assignment with " + std::to_string(mixtures) + " lists, or none, but received " +
                 std::to_string(assignment.size()));
  }
  const int64_t words = (cells + 31) / 32;
  std::vector<uint32_t> bits(static_cast<size_t>(mixtures * words), 0);
  for (int64_t mixture = 0; mixture < mixtures; ++mixture) {
    for (const int64_t cell : assignment[static_cast<size_t>(mixture)]) {
      if (cell < 0 || cell >= columns) {
        context.fail("expected cell indices in 0.." + std::to_string(columns - 1) + " but assignment of mixture " +
                     std::to_string(mixture) + " holds " + std::to_string(cell));
      }
      if (cell < cells) bits[static_cast<size_t>(mixture * words + cell / 32)] |= uint32_t{1} << (cell % 32);
    }
  }
  return bits;
}

const Tensor* read_divisor(const StepContext& context, size_t position) {
  if (!context.has_input(position)) return nullptr;
  expect_shape(context, "softmax temperature", context.input(position), {});
  return &context.input(position);
}

}  // namespace

AttentionRule::AttentionRule(const StepContext& context, int64_t mixtures, int64_t cells, size_t divisor)
    : rule_{read_function(context),
            static_cast<float>(context.number("epsilon")),
            static_cast<int>(mixtures),
            static_cast<int>(cells),
            static_cast<int>(cells) + context.boolean("zeroCell"),
            nullptr,
            nullptr,
            nullptr},
      divisor_(read_divisor(context, divisor)) {
  if (const std::vector<uint32_t> bits = read_assignment(context, mixtures, cells, rule_.columns); !bits.empty()) {
    assigned_ = upload(bits);
    context.resources.prepared_bytes += assigned_->bytes();
  }
}

device::AttentionRule AttentionRule::at(const Memory& memory, const Tensor& temperature) const {
  device::AttentionRule rule = rule_;
  rule.assigned = assigned_ ? assigned_->data<uint32_t>() : nullptr;
  rule.temperature = memory.data<float>(temperature);
  rule.softmax_temperature = divisor_ ? memory.data<float>(*divisor_) : nullptr;
  return rule;
}

}  // namespace kw::cuda
