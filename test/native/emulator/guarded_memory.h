// Memory between two guards that nobody may touch, filled with NaN, that notices what is written just outside of it.
#pragma once

#include <cstddef>

namespace kw::emulator {

/** At which end the memory touches its guard; at the other end there are less than a page of watched bytes. */
enum class Side { start, end };

/** Size of each guard: larger than what a wrong index goes astray by, as far as there is room. Only addresses, no memory. */
constexpr std::size_t kGuardBytes = std::size_t{64} << 20;

/** Fills memory with the bytes of 0x7fff, a NaN as bfloat16, float16 and float32, and a large integer. */
void poison(void* memory, std::size_t bytes);

class GuardedMemory {
 public:
  /** `bytes` at a multiple of `alignment` (a power of two, at most a page). Throws std::bad_alloc. */
  GuardedMemory(std::size_t bytes, std::size_t alignment, Side side);
  ~GuardedMemory();
  GuardedMemory(const GuardedMemory&) = delete;
  GuardedMemory& operator=(const GuardedMemory&) = delete;

  unsigned char* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  bool contains(const void* address, std::size_t bytes = 1) const;
  /** Whether `address` is outside of the data, but in the guards or watched bytes. */
  bool guards(const void* address) const;
  /** The first watched byte that has been changed, or null. */
  const void* find_overrun() const;
  /** Gives the watched bytes their value again. */
  void watch_again();
  /** Gives the memory back but keeps its addresses: every access faults. */
  void forbid();

 private:
  unsigned char* mapping_;
  std::size_t mapping_bytes_;
  unsigned char* data_;
  std::size_t bytes_;
};

}  // namespace kw::emulator
