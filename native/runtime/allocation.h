// Zero-filled memory of a device, for as long as the object lives.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>

namespace kw {

class Backend;

class Allocation {
 public:
  // `counter` is raised by `bytes` for as long as the memory lives. Throws out_of_memory.
  Allocation(size_t bytes, std::shared_ptr<Backend> backend, std::shared_ptr<std::atomic<size_t>> counter);
  ~Allocation();
  Allocation(const Allocation&) = delete;
  Allocation& operator=(const Allocation&) = delete;

  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  const std::shared_ptr<Backend> backend_;
  const std::shared_ptr<std::atomic<size_t>> counter_;
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace kw
