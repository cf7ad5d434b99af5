// The attention function and its gradient, for all mixtures of all samples.
#pragma once

#include "cuda/kernels/attention_row.cuh"

namespace kw::cuda::device {

/** attention [rows, cells] of logits [rows, columns]; row r is of mixture r % mixtures. */
__global__ void __launch_bounds__(kGroupThreads)
    attention_function(const float* logits, AttentionRule rule, long long rows, int lanes, float* attention) {
  const LaneGroup group(lanes);
  attention_row(rule, group, logits + group.row * rule.columns, static_cast<int>(group.row % rule.mixtures), group.row < rows,
                attention + group.row * rule.cells);
}

/** dlogits [rows, columns], which may be the memory of the logits. */
__global__ void __launch_bounds__(kGroupThreads)
    attention_function_backward(const float* dattention, const float* logits, AttentionRule rule, long long rows, int lanes,
                                float* dlogits) {
  const LaneGroup group(lanes);
  attention_row_backward(rule, group, dattention + group.row * rule.cells, logits + group.row * rule.columns, group.row < rows,
                         dlogits + group.row * rule.columns);
}

}  // namespace kw::cuda::device
