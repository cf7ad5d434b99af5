#include "cuda/attention_rule.h"

#include <array>
#include <string>
#include <utility>
#include <vector>

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
std::vector<uint32_t> read_assignment(const StepContext& context, int64_t mixtures, int64_t cells) {
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
      if (cell < 0 || cell > cells) {
        context.fail("expected cell indices in 0.." + std::to_string(cells) + " but assignment of mixture " + std::to_string(mixture) +
                     " holds " + std::to_string(cell));
      }
      if (cell < cells) bits[static_cast<size_t>(mixture * words + cell / 32)] |= uint32_t{1} << (cell % 32);
    }
  }
  return bits;
}

}  // namespace

AttentionRule::AttentionRule(const StepContext& context, int64_t mixtures, int64_t cells)
    : rule_{read_function(context),
            static_cast<float>(context.number("epsilon")),
            static_cast<int>(mixtures),
            static_cast<int>(cells),
            nullptr,
            nullptr} {
  if (const std::vector<uint32_t> bits = read_assignment(context, mixtures, cells); !bits.empty()) {
    assigned_ = upload(bits);
    context.resources.prepared_bytes += assigned_->bytes();
  }
}

device::AttentionRule AttentionRule::at(const float* temperature) const {
  device::AttentionRule rule = rule_;
  rule.assigned = assigned_ ? assigned_->data<uint32_t>() : nullptr;
  rule.temperature = temperature;
  return rule;
}

}  // namespace kw::cuda
