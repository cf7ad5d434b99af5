#include "cuda/device_array.h"

#include <algorithm>

#include "cuda/check.h"

namespace kw::cuda {

DeviceArray::DeviceArray(size_t bytes) : bytes_(bytes) {
  check(cudaMalloc(&data_, std::max<size_t>(bytes, 1)), "allocating " + std::to_string(bytes) + " bytes for a kernel's own use");
}

DeviceArray::DeviceArray(const void* source, size_t bytes) : DeviceArray(bytes) {
  if (bytes > 0) check(cudaMemcpy(data_, source, bytes, cudaMemcpyHostToDevice), "copying a kernel's table to the GPU");
}

DeviceArray::~DeviceArray() { cudaFree(data_); }

}  // namespace kw::cuda
