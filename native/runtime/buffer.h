// Memory of a device that programs are bound to.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "runtime/allocation.h"

namespace kw {

class Backend;
struct DeviceCounters;

// A number that no buffer has had before: versions of different buffers never look alike.
uint64_t next_version();

class Buffer {
 public:
  // Owned, zeroed. Throws out_of_memory.
  Buffer(size_t bytes, std::shared_ptr<Backend> backend, std::shared_ptr<DeviceCounters> counters);
  // Wrapped.
  Buffer(void* address, size_t bytes, std::function<void()> release, std::shared_ptr<DeviceCounters> counters);
  ~Buffer();
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  uint64_t version() const { return version_; }
  void changed() { version_ = next_version(); }
  bool belongs_to(const std::shared_ptr<DeviceCounters>& counters) const { return counters_ == counters; }

 private:
  std::shared_ptr<DeviceCounters> counters_;
  std::optional<Allocation> allocation_;
  std::function<void()> release_;
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
  std::atomic<uint64_t> version_ = next_version();
};

}  // namespace kw
