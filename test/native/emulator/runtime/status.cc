#include "emulator/runtime/status.h"

#include <deque>
#include <mutex>

#include "emulator/options.h"

namespace kw::emulator {
namespace {

struct Failure {
  cudaError_t status = cudaSuccess;
  std::string description;
};

std::mutex mutex;

Failure& failure() {
  static Failure& instance = *new Failure;
  return instance;
}

thread_local cudaError_t last_error = cudaSuccess;
thread_local bool is_in_host_function = false;

cudaError_t device_status() {
  const std::lock_guard<std::mutex> lock(mutex);
  return failure().status;
}

const char* text(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    case cudaErrorInvalidMemcpyDirection:
      return "invalid copy direction for memcpy";
    case cudaErrorInsufficientDriver:
      return "CUDA driver version is insufficient for CUDA runtime version";
    case cudaErrorInvalidDeviceFunction:
      return "invalid device function";
    case cudaErrorNoDevice:
      return "no CUDA-capable device is detected";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorIllegalState:
      return "the operation cannot be performed in the present state";
    case cudaErrorInvalidResourceHandle:
      return "invalid resource handle";
    case cudaErrorNotReady:
      return "device not ready";
    case cudaErrorIllegalAddress:
      return "an illegal memory access was encountered";
    case cudaErrorMisalignedAddress:
      return "misaligned address";
    case cudaErrorLaunchFailure:
      return "unspecified launch failure";
    case cudaErrorNotPermitted:
      return "operation not permitted";
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated:
      return "operation failed due to a previous error during capture";
    case cudaErrorStreamCaptureMerge:
      return "operation would result in a merge of separate capture sequences";
    case cudaErrorStreamCaptureUnmatched:
      return "capture was not ended in the same stream as it began";
    case cudaErrorStreamCaptureUnjoined:
      return "capturing stream has unjoined work";
    case cudaErrorStreamCaptureIsolation:
      return "dependency created on uncaptured work in another stream";
    case cudaErrorStreamCaptureImplicit:
      return "operation would make the legacy stream depend on a capturing blocking stream";
    case cudaErrorCapturedEvent:
      return "operation not permitted on an event last recorded in a capturing stream";
    case cudaErrorStreamCaptureWrongThread:
      return "attempt to terminate a thread-local capture sequence from another thread";
    case cudaErrorUnknown:
      break;
  }
  return "unknown error";
}

}  // namespace

cudaError_t finish(cudaError_t status) {
  // "Not ready" is an answer, not an error.
  if (status != cudaSuccess && status != cudaErrorNotReady) last_error = status;
  return status;
}

cudaError_t obstacle() {
  if (options().devices == 0) return cudaErrorNoDevice;
  if (is_in_host_function) return cudaErrorNotPermitted;
  return device_status();
}

void fail_device(cudaError_t status, const std::string& description) {
  const std::lock_guard<std::mutex> lock(mutex);
  if (failure().status == cudaSuccess) failure() = {status, description};
}

bool has_device_failed() { return device_status() != cudaSuccess; }

void forget_device_failure() {
  const std::lock_guard<std::mutex> lock(mutex);
  failure() = {};
}

InHostFunction::InHostFunction() { is_in_host_function = true; }
InHostFunction::~InHostFunction() { is_in_host_function = false; }

}  // namespace kw::emulator

using namespace kw::emulator;

const char* cudaGetErrorName(cudaError_t error) {
#define KW_NAME(name) \
  case name:          \
    return #name
  switch (error) {
    KW_NAME(cudaSuccess);
    KW_NAME(cudaErrorInvalidValue);
    KW_NAME(cudaErrorMemoryAllocation);
    KW_NAME(cudaErrorInvalidConfiguration);
    KW_NAME(cudaErrorInvalidMemcpyDirection);
    KW_NAME(cudaErrorInsufficientDriver);
    KW_NAME(cudaErrorInvalidDeviceFunction);
    KW_NAME(cudaErrorNoDevice);
    KW_NAME(cudaErrorInvalidDevice);
    KW_NAME(cudaErrorIllegalState);
    KW_NAME(cudaErrorInvalidResourceHandle);
    KW_NAME(cudaErrorNotReady);
    KW_NAME(cudaErrorIllegalAddress);
    KW_NAME(cudaErrorMisalignedAddress);
    KW_NAME(cudaErrorLaunchFailure);
    KW_NAME(cudaErrorNotPermitted);
    KW_NAME(cudaErrorStreamCaptureUnsupported);
    KW_NAME(cudaErrorStreamCaptureInvalidated);
    KW_NAME(cudaErrorStreamCaptureMerge);
    KW_NAME(cudaErrorStreamCaptureUnmatched);
    KW_NAME(cudaErrorStreamCaptureUnjoined);
    KW_NAME(cudaErrorStreamCaptureIsolation);
    KW_NAME(cudaErrorStreamCaptureImplicit);
    KW_NAME(cudaErrorCapturedEvent);
    KW_NAME(cudaErrorStreamCaptureWrongThread);
    KW_NAME(cudaErrorUnknown);
  }
#undef KW_NAME
  return "unrecognized error code";
}

const char* cudaGetErrorString(cudaError_t error) {
  const std::lock_guard<std::mutex> lock(mutex);
  if (error == cudaSuccess || error != failure().status) return text(error);
  // Callers keep the pointer, so no text is ever freed; there are as many as faults.
  static std::deque<std::string>& texts = *new std::deque<std::string>;
  const std::string described = std::string(text(error)) + ": " + failure().description;
  if (texts.empty() || texts.back() != described) texts.push_back(described);
  return texts.back().c_str();
}

cudaError_t cudaGetLastError() {
  const cudaError_t error = cudaPeekAtLastError();
  last_error = cudaSuccess;
  return error;
}

cudaError_t cudaPeekAtLastError() { return has_device_failed() ? device_status() : last_error; }
