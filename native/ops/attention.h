// From logits to a layer's attentions (KernelWarehouse, section 3.4), as a step of its own and as the end of a whole attention module.
#pragma once

#include <cstdint>
#include <vector>

#include "ops/op.h"

namespace kw {

enum class AttentionFunction { contrasting, softmax, sigmoid, rectified };

// A layer's attentions alpha = (1-t) f(z) + t beta, one row of logits z for each mixture.
struct AttentionRule {
  AttentionFunction function;
  float epsilon;
  int64_t mixtures;  // m
  int64_t cells;     // n, without the zero cell
  int64_t columns;   // logits of a mixture: the cells, and the zero cell where there is one
  // For each mixture the cells whose beta is 1; `cells` stands for the zero cell, which has no output. Empty: no assignment, and t counts
  // as 0.
  std::vector<std::vector<int64_t>> assignment;
  const Tensor& temperature;          // t
  const Tensor* softmax_temperature;  // T, null where there is none: softmax and sigmoid are of z / T
};

struct AttentionFunctionStep {
  explicit AttentionFunctionStep(const StepContext& context);
  const Tensor &logits, &attention;
  AttentionRule rule;
  int64_t rows;  // of all samples
};

struct AttentionFunctionBackwardStep {
  static constexpr InPlace in_place[] = {{0, 1}};
  explicit AttentionFunctionBackwardStep(const StepContext& context);
  const Tensor &dattention, &logits, &dlogits;
  AttentionRule rule;
  int64_t rows;
};

// Fully connected, normalization with given statistics (mean and variance) or over the row (scale and shift alone) or none, ReLU, fully
// connected, attention function.
struct AttentionModuleStep {
  explicit AttentionModuleStep(const StepContext& context);
  const Tensor &pooled, &first_weight, &second_weight, &second_bias;
  const Tensor *first_bias, *scale, *shift, *mean, *variance;  // null where there are none
  const Tensor& attention;
  AttentionRule rule;
  int64_t samples, channels, hidden;
  int64_t hidden_elements, logit_elements;  // of all samples
  double norm_epsilon;
};

}  // namespace kw

// Names in plans, and how their steps are read.
#define KW_ATTENTION_OPS(OP)                                     \
  OP(attention_function, AttentionFunctionStep)                  \
  OP(attention_function_backward, AttentionFunctionBackwardStep) \
  OP(attention_module, AttentionModuleStep)
