// cuDNN's functions, with the types of its header and the addresses of the library that was opened. Compiled only where the header is.
#pragma once

#include <cudnn.h>

#include "cuda/libraries/function_names.h"

namespace kw::cuda {

struct CudnnFunctions {
#define KW_MEMBER(function) decltype(&::function) function;
  KW_CUDNN_FUNCTIONS(KW_MEMBER)
#undef KW_MEMBER
};

// Null where there is no cuDNN that serves: gpu_libraries().cudnn.problem() says why.
const CudnnFunctions* cudnn_functions();

}  // namespace kw::cuda
