// The one device, or none.
#include <cuda_runtime_api.h>

#include <cstring>

#include "emulator/heap.h"
#include "emulator/options.h"
#include "emulator/runtime/status.h"
#include "emulator/runtime/stream.h"

using namespace kw::emulator;

namespace {

constexpr int kProcessors = 4;  // few, so that kernels which fill the device stay small
constexpr int kVersion = CUDART_VERSION;

std::size_t shared_bytes_of_processor() { return shared_limit() + 1024; }

cudaError_t check_device(int device) {
  if (options().devices == 0) return cudaErrorNoDevice;
  return device == 0 ? cudaSuccess : cudaErrorInvalidDevice;
}

}  // namespace

cudaError_t cudaGetDeviceCount(int* count) {
  *count = options().devices;
  return finish(*count == 0 ? cudaErrorNoDevice : cudaSuccess);
}

cudaError_t cudaSetDevice(int device) { return finish(check_device(device)); }

cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return finish(check_device(0));
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (const cudaError_t status = check_device(device); status != cudaSuccess) return finish(status);
  *properties = {};
  std::strcpy(properties->name, "Emulated device");
  std::memcpy(properties->uuid.bytes, "emulated-device0", sizeof properties->uuid.bytes);
  properties->totalGlobalMem = options().memory;
  properties->sharedMemPerBlock = 48 * 1024;
  properties->sharedMemPerMultiprocessor = shared_bytes_of_processor();
  properties->sharedMemPerBlockOptin = shared_limit();
  properties->warpSize = 32;
  properties->maxThreadsPerBlock = 1024;
  const int threads[] = {1024, 1024, 64};
  const int blocks[] = {2147483647, 65535, 65535};
  std::memcpy(properties->maxThreadsDim, threads, sizeof threads);
  std::memcpy(properties->maxGridSize, blocks, sizeof blocks);
  properties->major = options().target / 10;
  properties->minor = options().target % 10;
  properties->multiProcessorCount = kProcessors;
  properties->l2CacheSize = options().cache_bytes;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  if (const cudaError_t status = check_device(device); status != cudaSuccess) return finish(status);
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      *value = 1024;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = 48 * 1024;
      return cudaSuccess;
    case cudaDevAttrWarpSize:
      *value = 32;
      return cudaSuccess;
    case cudaDevAttrMultiProcessorCount:
      *value = kProcessors;
      return cudaSuccess;
    case cudaDevAttrL2CacheSize:
      *value = options().cache_bytes;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
      *value = options().target / 10;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
      *value = options().target % 10;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = static_cast<int>(shared_bytes_of_processor());
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(shared_limit());
      return cudaSuccess;
  }
  return finish(cudaErrorInvalidValue);
}

// Without a device there is usually no driver either, which these calls answer with success and 0.
cudaError_t cudaDriverGetVersion(int* version) {
  *version = options().devices == 0 ? 0 : kVersion;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = kVersion;
  return cudaSuccess;
}

cudaError_t cudaDeviceReset() {
  if (const cudaError_t status = check_device(0); status != cudaSuccess) return finish(status);
  streams().reset();
  device_heap().clear();
  page_locked_heap().clear();
  forget_device_failure();
  return cudaSuccess;
}
