// How a call of the runtime ends, and what stays wrong after it.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

namespace kw::emulator {

/** Remembers an error for cudaGetLastError, and gives it back. Every function of the runtime ends with it. */
cudaError_t finish(cudaError_t status);

/** Why no call can be made now: there is no device, work of the device has failed, or this is a host function of a stream. Else
 * cudaSuccess. */
cudaError_t obstacle();

/** Work of the device failed: every later call does too, until cudaDeviceReset. The first failure counts. */
void fail_device(cudaError_t status, const std::string& description);
bool has_device_failed();
void forget_device_failure();

/** While one exists, this thread is in a host function, which may not call the runtime. */
class InHostFunction {
 public:
  InHostFunction();
  ~InHostFunction();
};

}  // namespace kw::emulator
