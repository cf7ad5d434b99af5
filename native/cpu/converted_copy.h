// Copies of parameters in another layout, converted again only when the parameter has changed.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>

#include "runtime/backend.h"

namespace kw::cpu {

// Float memory that starts at a multiple of 64 bytes, not initialised.
class AlignedFloats {
 public:
  AlignedFloats() = default;
  explicit AlignedFloats(size_t bytes) : data_(static_cast<float*>(::operator new(bytes, std::align_val_t{64}))) {}
  float* data() const { return data_.get(); }

 private:
  struct Free {
    void operator()(float* data) const { ::operator delete(data, std::align_val_t{64}); }
  };
  std::unique_ptr<float, Free> data_;
};

// Tells when a converted copy of a tensor is out of date.
class CopyState {
 public:
  // A tensor in a buffer that ordinary steps write (the workspace, say) has no version to go by: its copy is always out of date.
  CopyState(const KernelContext& context, const Tensor& tensor) : tensor_(tensor), versioned_(tensor.buffer != 0) {
    for (const Step& step : context.plan.steps) {
      for (const int output : step.outputs) {
        if (context.plan.tensors[static_cast<size_t>(output)].buffer == tensor.buffer) versioned_ = false;
      }
    }
  }

  // True when the copy must be converted again; the caller then does.
  bool outdated(const Memory& memory) {
    const uint64_t version = memory.version(tensor_);
    const void* base = memory.base(tensor_);
    const bool current = versioned_ && version == version_ && base == base_;
    version_ = version;
    base_ = base;
    return !current;
  }

 private:
  const Tensor& tensor_;
  bool versioned_;
  uint64_t version_ = 0;
  const void* base_ = nullptr;
};

}  // namespace kw::cpu
