// The attention functions as other kernels use them.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/backend.h"

namespace kw::cpu {

struct AttentionRowOptions {
  int64_t cells;    // of alpha
  int64_t columns;  // of z: cells, and the zero cell where there is one
  float t, epsilon;
  float scale;  // 1 / T: softmax and sigmoid are of scale * z
};

// A row of z [columns] to alpha [cells], with its row of beta [cells].
using AttentionRow = void (*)(const float* z, const float* beta, const AttentionRowOptions& of, float* alpha);

// By the attribute `function`.
AttentionRow attention_row(const StepContext& context);

// T, the optional scalar at this position of the inputs; null where it is absent.
const Tensor* softmax_temperature(const StepContext& context, size_t position);

// The attribute `assignment`; when it is empty the temperature counts as 0.
struct Assignment {
  bool present;
  std::vector<float> beta;  // [m, n]
};
Assignment read_assignment(const StepContext& context, int64_t mixtures, int64_t cells, int64_t columns);

}  // namespace kw::cpu
