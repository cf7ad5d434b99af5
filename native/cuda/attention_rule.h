// A step's attention function as kernels take it: the attributes `function`, `epsilon`, `zeroCell` and `assignment`, and the optional
// softmax temperature.
#pragma once

#include <memory>

#include "cuda/device_array.h"
#include "cuda/kernels/attention_row.cuh"
#include "runtime/backend.h"

namespace kw::cuda {

class AttentionRule {
 public:
  /**
   * For `mixtures` mixtures of `cells` cells, without the zero cell; `divisor` is the softmax temperature's position in the inputs. Refuses
   * what it does not know (invalid_plan).
   */
  AttentionRule(const StepContext& context, int64_t mixtures, int64_t cells, size_t divisor);

  device::AttentionRule at(const Memory& memory, const Tensor& temperature) const;

 private:
  device::AttentionRule rule_;
  std::shared_ptr<DeviceArray> assigned_;  // null without an assignment
  const Tensor* divisor_;                  // null without a softmax temperature
};

}  // namespace kw::cuda
