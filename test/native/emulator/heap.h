// Allocations of the device's memory and of page-locked memory: each lies between guards, undefined at the start, and freed memory
// cannot be touched.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "emulator/guarded_memory.h"

namespace kw::emulator {

class Heap {
 public:
  /** Memory at a multiple of 256 bytes, or null when it would make more than `capacity` bytes altogether. */
  void* allocate(std::size_t bytes, std::size_t capacity);
  /** Whether `address` was what allocate had given. */
  bool free(void* address);
  std::size_t used_bytes() const;
  /** Whether all of `bytes` from `address` lie in one allocation. */
  bool contains(const void* address, std::size_t bytes) const;
  /** "16 bytes past the end of an allocation of 1024 bytes", and so on. */
  std::string describe(const void* address) const;
  /** What was written just outside of an allocation, if anything, described; told once. */
  std::optional<std::string> find_overrun();
  /** Frees everything, and forgets what had been freed. */
  void clear();

 private:
  mutable std::mutex mutex_;
  std::map<const void*, std::unique_ptr<GuardedMemory>> allocations_;
  std::vector<std::unique_ptr<GuardedMemory>> freed_;
  std::size_t used_ = 0;
  bool is_next_at_start_ = false;
};

Heap& device_heap();
Heap& page_locked_heap();

}  // namespace kw::emulator
