#include "cuda/libraries/cublas_lt.h"

#include <type_traits>

#include "cuda/libraries/gpu_libraries.h"

namespace kw::cuda {

const CublasLtFunctions* cublas_lt_functions() {
  const Library& library = gpu_libraries().cublas_lt;
  if (!library.is_open()) return nullptr;
#define KW_ADDRESS(name) library.function<std::remove_pointer_t<decltype(CublasLtFunctions::name)>>(#name),
  static const CublasLtFunctions functions = {KW_CUBLAS_LT_FUNCTIONS(KW_ADDRESS)};
#undef KW_ADDRESS
  return &functions;
}

}  // namespace kw::cuda
