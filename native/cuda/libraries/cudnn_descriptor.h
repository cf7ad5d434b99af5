// cuDNN's descriptors, of which its graphs are made.
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "cuda/libraries/cudnn.h"

namespace kw::cuda {

// What cuDNN does not do.
class CudnnRefusal : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

inline void check(const CudnnFunctions& cudnn, cudnnStatus_t status) {
  if (status != CUDNN_STATUS_SUCCESS) throw CudnnRefusal(cudnn.cudnnGetErrorString(status));
}

// Owns a descriptor. Those that are finished refer to the ones that they were made of, which therefore live as long.
class CudnnDescriptor {
 public:
  CudnnDescriptor(const CudnnFunctions& cudnn, cudnnBackendDescriptorType_t type) : cudnn_(&cudnn) {
    check(cudnn, cudnn.cudnnBackendCreateDescriptor(type, &descriptor_));
  }
  ~CudnnDescriptor() {
    if (descriptor_) cudnn_->cudnnBackendDestroyDescriptor(descriptor_);
  }
  CudnnDescriptor(CudnnDescriptor&& other) noexcept : cudnn_(other.cudnn_), descriptor_(std::exchange(other.descriptor_, nullptr)) {}
  CudnnDescriptor(const CudnnDescriptor&) = delete;
  CudnnDescriptor& operator=(const CudnnDescriptor&) = delete;

  cudnnBackendDescriptor_t get() const { return descriptor_; }

  template <class T>
  void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, const std::vector<T>& values) {
    check(*cudnn_, cudnn_->cudnnBackendSetAttribute(descriptor_, name, type, static_cast<int64_t>(values.size()), values.data()));
  }
  void set(cudnnBackendAttributeName_t name, const std::vector<int64_t>& values) { set(name, CUDNN_TYPE_INT64, values); }
  void set(cudnnBackendAttributeName_t name, int64_t value) { set_one(name, CUDNN_TYPE_INT64, value); }
  void set(cudnnBackendAttributeName_t name, float value) { set_one(name, CUDNN_TYPE_FLOAT, value); }
  void set(cudnnBackendAttributeName_t name, double value) { set_one(name, CUDNN_TYPE_DOUBLE, value); }
  void set(cudnnBackendAttributeName_t name, bool value) { set_one(name, CUDNN_TYPE_BOOLEAN, value); }
  void set(cudnnBackendAttributeName_t name, void* value) { set_one(name, CUDNN_TYPE_VOID_PTR, value); }
  void set(cudnnBackendAttributeName_t name, cudnnHandle_t value) { set_one(name, CUDNN_TYPE_HANDLE, value); }
  void set(cudnnBackendAttributeName_t name, cudnnDataType_t value) { set_one(name, CUDNN_TYPE_DATA_TYPE, value); }
  void set(cudnnBackendAttributeName_t name, cudnnConvolutionMode_t value) { set_one(name, CUDNN_TYPE_CONVOLUTION_MODE, value); }
  void set(cudnnBackendAttributeName_t name, cudnnPointwiseMode_t value) { set_one(name, CUDNN_TYPE_POINTWISE_MODE, value); }
  void set(cudnnBackendAttributeName_t name, cudnnNanPropagation_t value) { set_one(name, CUDNN_TYPE_NAN_PROPOGATION, value); }
  void set(cudnnBackendAttributeName_t name, cudnnBackendHeurMode_t value) { set_one(name, CUDNN_TYPE_HEUR_MODE, value); }
  void set(cudnnBackendAttributeName_t name, const CudnnDescriptor& value) {
    set_one(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, value.descriptor_);
  }

  // No attribute can be set after this.
  void finish() { check(*cudnn_, cudnn_->cudnnBackendFinalize(descriptor_)); }

  int64_t integer(cudnnBackendAttributeName_t name) const {
    int64_t value = 0, count = 0;
    check(*cudnn_, cudnn_->cudnnBackendGetAttribute(descriptor_, name, CUDNN_TYPE_INT64, 1, &count, &value));
    return value;
  }
  // At most `most` values.
  template <class T>
  std::vector<T> values(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, size_t most) const {
    std::vector<T> values(most);
    int64_t count = 0;
    check(*cudnn_,
          cudnn_->cudnnBackendGetAttribute(descriptor_, name, type, static_cast<int64_t>(most), &count, static_cast<void*>(values.data())));
    values.resize(static_cast<size_t>(count));
    return values;
  }
  // Lets cuDNN fill descriptors of `type`, at most `most`.
  std::vector<CudnnDescriptor> descriptors(cudnnBackendAttributeName_t name, cudnnBackendDescriptorType_t type, size_t most) const {
    std::vector<CudnnDescriptor> filled;
    std::vector<cudnnBackendDescriptor_t> addresses;
    for (size_t i = 0; i < most; ++i) addresses.push_back(filled.emplace_back(*cudnn_, type).get());
    int64_t count = 0;
    check(*cudnn_, cudnn_->cudnnBackendGetAttribute(descriptor_, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, static_cast<int64_t>(most), &count,
                                                    static_cast<void*>(addresses.data())));
    while (filled.size() > static_cast<size_t>(count)) filled.pop_back();
    return filled;
  }

 private:
  template <class T>
  void set_one(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, const T& value) {
    check(*cudnn_, cudnn_->cudnnBackendSetAttribute(descriptor_, name, type, 1, &value));
  }

  const CudnnFunctions* cudnn_;
  cudnnBackendDescriptor_t descriptor_ = nullptr;
};

}  // namespace kw::cuda
