#include "cuda/device.h"

#include "cuda/check.h"
#include "runtime/error.h"

namespace kw::cuda {

namespace {

int attribute(cudaDeviceAttr which, int index) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, which, index), "asking for an attribute of the GPU");
  return value;
}

}  // namespace

Device describe_device(int index, bool tf32) {
  int count = 0;
  if (const cudaError_t status = cudaGetDeviceCount(&count); status != cudaSuccess || count == 0) {
    cudaGetLastError();
    int driver = 0;
    cudaDriverGetVersion(&driver);
    const std::string found = driver == 0 ? "no NVIDIA driver was found"
                                          : "the NVIDIA driver supports CUDA " + std::to_string(driver / 1000) + "." +
                                                std::to_string(driver % 1000 / 10) + " and this build needs " +
                                                std::to_string(CUDART_VERSION / 1000) + "." + std::to_string(CUDART_VERSION % 1000 / 10);
    throw Error(
        ErrorCode::unsupported,
        "There is no usable GPU: " + std::string(status == cudaSuccess ? "none is visible" : cudaGetErrorString(status)) + "; " + found);
  }
  if (index < 0 || index >= count) {
    throw Error(ErrorCode::unsupported,
                "There is no GPU " + std::to_string(index) + "; this machine shows " + std::to_string(count) + ", counted from 0");
  }
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, index), "asking for the GPU's properties");
  Device device;
  device.index = index;
  device.name = properties.name;
  device.capability = 10 * properties.major + properties.minor;
  device.multiprocessors = properties.multiProcessorCount;
  device.shared_memory = static_cast<size_t>(attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, index));
  device.l2_bytes = static_cast<size_t>(attribute(cudaDevAttrL2CacheSize, index));
  device.memory_bytes = properties.totalGlobalMem;
  device.tf32 = tf32;
  constexpr int kLeastCapability = 80;
  if (device.capability < kLeastCapability) {
    throw Error(ErrorCode::unsupported, "GPU " + std::to_string(index) + " (" + device.name + ") has compute capability " +
                                            std::to_string(properties.major) + "." + std::to_string(properties.minor) +
                                            "; 8.0 or newer is needed");
  }
  return device;
}

}  // namespace kw::cuda
