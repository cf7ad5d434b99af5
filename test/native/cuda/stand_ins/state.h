// What the stand-ins for cuDNN and cuBLASLt share with the tests that they serve. They compute naively, in the order of the emulated
// device's stream, and refuse every call that is not exactly what the real library's documentation asks for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

namespace kw::stand_ins {

struct State {
  // Whether a handle is given; without one our own kernels run.
  bool serves = false;
  // From then on every execution is refused.
  bool refuses_to_run = false;
  int convolutions = 0, products = 0;        // queued
  std::vector<std::string> complaints = {};  // of calls that a real library might not take
  // Queues work on a stream of the emulated device.
  bool (*queue)(void* stream, std::function<void()> work) = nullptr;
};

// Exported by each stand-in as kw_stand_in_connect.
using Connect = void(State* state);

inline float widen(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  __builtin_memcpy(&value, &wide, sizeof value);
  return value;
}

inline uint16_t round_to_bfloat16(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  if (value != value) return 0x7fff;
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// Elements of device memory, float32 or bfloat16, read and written one by one.
struct Elements {
  void* address;
  bool is_bfloat16;

  float read(int64_t index) const {
    return is_bfloat16 ? widen(static_cast<const uint16_t*>(address)[index]) : static_cast<const float*>(address)[index];
  }
  void write(int64_t index, float value) const {
    if (is_bfloat16) {
      static_cast<uint16_t*>(address)[index] = round_to_bfloat16(value);
    } else {
      static_cast<float*>(address)[index] = value;
    }
  }
};

inline bool is_aligned(const void* address, size_t bytes) { return reinterpret_cast<uintptr_t>(address) % bytes == 0; }

}  // namespace kw::stand_ins
