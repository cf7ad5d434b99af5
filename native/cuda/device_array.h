// Memory of the GPU that a kernel keeps for itself: tables, converted parameters.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "cuda/device.h"

namespace kw::cuda {

class DeviceArray {
 public:
  // Not zeroed. Throws out_of_memory.
  explicit DeviceArray(size_t bytes);
  // A copy of `bytes` bytes of the host's, there when this returns.
  DeviceArray(const void* source, size_t bytes);
  ~DeviceArray();
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  template <class T>
  T* data() const {
    return static_cast<T*>(data_);
  }
  size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

template <class T>
std::shared_ptr<DeviceArray> upload(const std::vector<T>& values) {
  return std::make_shared<DeviceArray>(values.data(), values.size() * sizeof(T));
}

}  // namespace kw::cuda
