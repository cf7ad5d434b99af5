// The element types of activations, as kernels are instantiated for them.
#pragma once

#include <type_traits>

#include "cuda/kernels/primitives.cuh"
#include "runtime/backend.h"

namespace kw::cuda {

using device::bfloat16;

// Calls `make(std::type_identity<T>)` with T the type of `tensor`'s elements, float or bfloat16; refuses others (invalid_plan).
template <class Make>
auto for_element(const StepContext& context, const char* name, const Tensor& tensor, const Make& make) {
  switch (tensor.type) {
    case DataType::float32:
      return make(std::type_identity<float>());
    case DataType::bfloat16:
      return make(std::type_identity<bfloat16>());
    case DataType::int32:
      break;
  }
  context.fail(std::string("expected ") + name + " to be float32 or bfloat16 but received " + name_of(tensor.type));
}

}  // namespace kw::cuda
