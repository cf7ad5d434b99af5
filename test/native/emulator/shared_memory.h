// The shared memory of a block: undefined at the start, and not a byte larger than asked for.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "emulator/guarded_memory.h"

namespace kw::emulator {

class SharedMemory {
 public:
  /** Gives the next block its dynamic memory, filled with NaN, ending at a guard page (or at less than 128 bytes whose change is noticed).
   */
  void prepare(std::size_t dynamic_bytes);

  unsigned char* dynamic() { return dynamic_->data(); }
  std::size_t dynamic_bytes() const { return dynamic_ ? dynamic_->bytes() : 0; }

  /** The array that `key` stands for, made at the first call: NaN, between guards. */
  void* array(const void* key, std::size_t bytes);
  /** Of all arrays. */
  std::size_t array_bytes() const { return array_bytes_; }

  /** Whether all of `bytes` from `address` lie in the dynamic memory or in one array. */
  bool contains(const void* address, std::size_t bytes) const;

  /** Whether `address` is in a guard of it. */
  bool guards(const void* address) const;

  /** Whether something has been written just outside of it since prepare. */
  bool is_overrun() const;

 private:
  struct Array {
    const void* key;
    std::unique_ptr<GuardedMemory> memory;
    bool is_used;
  };

  std::unique_ptr<GuardedMemory> dynamic_;
  std::vector<Array> arrays_;
  std::size_t array_bytes_ = 0;
};

}  // namespace kw::emulator
