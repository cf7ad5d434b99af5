// cuBLASLt's functions, with the types of its header and the addresses of the library that was opened. Compiled only where the header is.
#pragma once

#include <cublasLt.h>

#include "cuda/libraries/function_names.h"

namespace kw::cuda {

struct CublasLtFunctions {
#define KW_MEMBER(function) decltype(&::function) function;
  KW_CUBLAS_LT_FUNCTIONS(KW_MEMBER)
#undef KW_MEMBER
};

// Null where there is no cuBLASLt that serves: gpu_libraries().cublas_lt.problem() says why.
const CublasLtFunctions* cublas_lt_functions();

}  // namespace kw::cuda
