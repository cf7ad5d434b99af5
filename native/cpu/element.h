// The two types that activations have: float, and bfloat16, which is widened where it is read and rounded once where it is written. Kernels
// of both are one template.
#pragma once

#include <memory>
#include <type_traits>

#include "cpu/bfloat16.h"
#include "runtime/kernel_checks.h"

namespace kw::cpu {

// make(std::type_identity<T>) for the element type T of `tensor`; refuses others (invalid_plan).
template <class Make>
std::unique_ptr<Kernel> for_element(const StepContext& context, const char* name, const Tensor& tensor, const Make& make) {
  if (tensor.type == DataType::float32) return make(std::type_identity<float>());
  if (tensor.type == DataType::bfloat16) return make(std::type_identity<bfloat16>());
  context.fail(std::string("expected ") + name + " to be float32 or bfloat16 but received " + name_of(tensor.type));
}

}  // namespace kw::cpu
