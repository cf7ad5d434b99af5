// Turns the status of a CUDA call into a kw::Error.
#pragma once

#include <cuda_runtime.h>

#include <string>

#include "runtime/error.h"

namespace kw::cuda {

/** Returns when `status` is cudaSuccess. Otherwise throws kw::Error (out_of_memory for cudaErrorMemoryAllocation, else internal), whose
 * message says what was done (`what`, such as "copying the input to the device") and what CUDA answered. */
inline void check(cudaError_t status, const std::string& what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // an error that is reported here must not be found again by a later call
  const ErrorCode code = status == cudaErrorMemoryAllocation ? ErrorCode::out_of_memory : ErrorCode::internal;
  throw Error(code, what + ": " + cudaGetErrorName(status) + ": " + cudaGetErrorString(status));
}

}  // namespace kw::cuda
