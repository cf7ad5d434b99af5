// A step's attention function as kernels take it.
#pragma once

#include <memory>

#include "cuda/device_array.h"
#include "cuda/kernels/attention_row.cuh"
#include "ops/attention.h"

namespace kw::cuda {

class PreparedAttentionRule {
 public:
  PreparedAttentionRule(const KernelContext& context, const AttentionRule& rule);

  device::AttentionRule at(const Memory& memory) const;

 private:
  device::AttentionRule rule_;
  std::shared_ptr<DeviceArray> assigned_;  // null without an assignment
  const Tensor& temperature_;
  const Tensor* divisor_;  // null without a softmax temperature
};

}  // namespace kw::cuda
