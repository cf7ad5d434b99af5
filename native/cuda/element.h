// The element types of activations, as kernels are instantiated for them.
#pragma once

#include <type_traits>

#include "cuda/kernels/primitives.cuh"
#include "runtime/backend.h"

namespace kw::cuda {

using device::bfloat16;

// Calls `make(std::type_identity<T>)` with T the element type of an activation, which its step has checked.
template <class Make>
auto for_element(const Tensor& activation, const Make& make) {
  if (activation.type == DataType::bfloat16) return make(std::type_identity<bfloat16>());
  return make(std::type_identity<float>());
}

}  // namespace kw::cuda
