// Multi-head self-attention (Vaswani et al. 2017).
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "ops/op.h"

namespace kw {

// The heads of tokens [N, T, D]; head h owns the channels from h * width() on.
struct Heads {
  int64_t samples, tokens, channels, heads;

  int64_t count() const { return samples * heads; }  // of all samples
  int64_t width() const { return channels / heads; }
  float scale() const { return static_cast<float>(1.0 / std::sqrt(static_cast<double>(width()))); }
  std::vector<int64_t> rows() const { return {samples, heads, tokens}; }
};

struct SelfAttentionStep {
  explicit SelfAttentionStep(const StepContext& context);
  const Tensor &query, &key, &value, &y, &log_sum_exp;
  Heads heads;
};

struct SelfAttentionBackwardStep {
  explicit SelfAttentionBackwardStep(const StepContext& context);
  const Tensor &dy, &query, &key, &value, &y, &log_sum_exp, &dquery, &dkey, &dvalue;
  Heads heads;
};

}  // namespace kw

// Names in plans, and how their steps are read.
#define KW_SELF_ATTENTION_OPS(OP)       \
  OP(self_attention, SelfAttentionStep) \
  OP(self_attention_backward, SelfAttentionBackwardStep)
