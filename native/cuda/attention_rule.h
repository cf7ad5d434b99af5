// A step's attention function as kernels take it: the attributes `function`, `epsilon` and `assignment`.
#pragma once

#include <memory>

#include "cuda/device_array.h"
#include "cuda/kernels/attention_row.cuh"
#include "runtime/backend.h"

namespace kw::cuda {

class AttentionRule {
 public:
  /** For `mixtures` mixtures of `cells` cells, without the zero cell. Refuses what it does not know (invalid_plan). */
  AttentionRule(const StepContext& context, int64_t mixtures, int64_t cells);

  device::AttentionRule at(const float* temperature) const;

 private:
  device::AttentionRule rule_;
  std::shared_ptr<DeviceArray> assigned_;  // null without an assignment
};

}  // namespace kw::cuda
