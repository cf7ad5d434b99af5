// The attention functions as other kernels use them.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/backend.h"

namespace kw::cpu {

// A row of z [cells + 1] to alpha [cells], with its row of beta [cells].
using AttentionRow = void (*)(const float* z, const float* beta, int64_t cells, float t, float epsilon, float* alpha);

// By the attribute `function`.
AttentionRow attention_row(const StepContext& context);

// The attribute `assignment`; when it is empty the temperature counts as 0.
struct Assignment {
  bool present;
  std::vector<float> beta;  // [m, n]
};
Assignment read_assignment(const StepContext& context, int64_t mixtures, int64_t cells);

}  // namespace kw::cpu
