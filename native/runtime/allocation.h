// Zero-filled, 64-byte aligned memory. Refuses what this machine cannot hold instead of being killed for it later.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>

namespace kw {

class Allocation {
 public:
  // `counter`, where given, is raised by `bytes` for as long as the memory lives. Throws out_of_memory.
  explicit Allocation(size_t bytes, std::shared_ptr<std::atomic<size_t>> counter = nullptr);
  ~Allocation();
  Allocation(const Allocation&) = delete;
  Allocation& operator=(const Allocation&) = delete;

  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
  std::shared_ptr<std::atomic<size_t>> counter_;
};

}  // namespace kw
