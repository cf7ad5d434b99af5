// The attention functions as other kernels use them.
#pragma once

#include <cstdint>
#include <vector>

#include "ops/attention.h"

namespace kw::cpu {

struct AttentionRowOptions {
  int64_t cells;    // of alpha
  int64_t columns;  // of z: cells, and the zero cell where there is one
  float t, epsilon;
  float scale;  // 1 / T: softmax and sigmoid are of scale * z
};

// A row of z [columns] to alpha [cells], with its row of beta [cells].
using AttentionRow = void (*)(const float* z, const float* beta, const AttentionRowOptions& of, float* alpha);

AttentionRow attention_row(AttentionFunction function);

// With the temperatures of one run.
AttentionRowOptions row_options(const AttentionRule& rule, const Memory& memory);

std::vector<float> beta_rows(const AttentionRule& rule);  // [m, n]

}  // namespace kw::cpu
