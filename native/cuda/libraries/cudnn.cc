#include "cuda/libraries/cudnn.h"

#include <type_traits>

#include "cuda/libraries/gpu_libraries.h"

namespace kw::cuda {

const CudnnFunctions* cudnn_functions() {
  const Library& library = gpu_libraries().cudnn;
  if (!library.is_open()) return nullptr;
#define KW_ADDRESS(name) library.function<std::remove_pointer_t<decltype(CudnnFunctions::name)>>(#name),
  static const CudnnFunctions functions = {KW_CUDNN_FUNCTIONS(KW_ADDRESS)};
#undef KW_ADDRESS
  return &functions;
}

}  // namespace kw::cuda
