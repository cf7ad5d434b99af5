#include "cuda/attention/attention_rule.h"

#include <utility>
#include <vector>

#include "cuda/kernel.h"

namespace kw::cuda {
namespace {

device::AttentionFunction device_function(AttentionFunction function) {
  switch (function) {
    case AttentionFunction::softmax:
      return device::AttentionFunction::softmax;
    case AttentionFunction::sigmoid:
      return device::AttentionFunction::sigmoid;
    case AttentionFunction::rectified:
      return device::AttentionFunction::rectified;
    case AttentionFunction::contrasting:
      break;
  }
  return device::AttentionFunction::contrasting;
}

// For each mixture the cells whose beta is 1, as bits. Empty: no assignment.
std::vector<uint32_t> assignment_bits(const AttentionRule& rule) {
  if (rule.assignment.empty()) return {};
  const auto words = static_cast<size_t>((rule.cells + 31) / 32);
  std::vector<uint32_t> bits(static_cast<size_t>(rule.mixtures) * words, 0);
  for (size_t mixture = 0; mixture < rule.assignment.size(); ++mixture) {
    for (const int64_t cell : rule.assignment[mixture]) {
      if (cell < rule.cells) bits[mixture * words + static_cast<size_t>(cell / 32)] |= uint32_t{1} << (cell % 32);
    }
  }
  return bits;
}

}  // namespace

PreparedAttentionRule::PreparedAttentionRule(const KernelContext& context, const AttentionRule& rule)
    : rule_{device_function(rule.function),
            rule.epsilon,
            as_int(context, "mixtures", rule.mixtures),
            as_int(context, "cells", rule.cells),
            as_int(context, "logits of a mixture", rule.columns),
            nullptr,
            nullptr,
            nullptr},
      temperature_(rule.temperature),
      divisor_(rule.softmax_temperature) {
  if (const std::vector<uint32_t> bits = assignment_bits(rule); !bits.empty()) {
    assigned_ = upload(bits);
    context.resources.prepared_bytes += assigned_->bytes();
  }
}

device::AttentionRule PreparedAttentionRule::at(const Memory& memory) const {
  device::AttentionRule rule = rule_;
  rule.assigned = assigned_ ? assigned_->data<uint32_t>() : nullptr;
  rule.temperature = memory.data<float>(temperature_);
  rule.softmax_temperature = divisor_ ? memory.data<float>(*divisor_) : nullptr;
  return rule;
}

}  // namespace kw::cuda
