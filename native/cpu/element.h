// The two types that activations have: float, and bfloat16, which is widened where it is read and rounded once where it is written. Kernels
// of both are one template.
#pragma once

#include <memory>
#include <type_traits>

#include "cpu/bfloat16.h"
#include "runtime/backend.h"

namespace kw::cpu {

// make(std::type_identity<T>) for the element type T of an activation, which its step has checked.
template <class Make>
std::unique_ptr<Kernel> for_element(const Tensor& activation, const Make& make) {
  if (activation.type == DataType::bfloat16) return make(std::type_identity<bfloat16>());
  return make(std::type_identity<float>());
}

}  // namespace kw::cpu
