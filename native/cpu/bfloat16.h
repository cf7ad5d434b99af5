// bfloat16: the upper half of a float. Loops over it vectorise like loops over float.
#pragma once

#include <cstdint>

namespace kw::cpu {

struct bfloat16 {
  uint16_t bits;

  bfloat16() = default;
  // To nearest, ties to even; a NaN stays one. Always inlined, here and below: a loop for another instruction set must not call it.
  [[gnu::always_inline]] explicit bfloat16(float value) {
    const uint32_t word = __builtin_bit_cast(uint32_t, value);
    const uint32_t rounded = word + 0x7fffu + (word >> 16 & 1u);
    bits = static_cast<uint16_t>((value == value ? rounded : word | 0x400000u) >> 16);
  }
  [[gnu::always_inline]] operator float() const { return __builtin_bit_cast(float, static_cast<uint32_t>(bits) << 16); }
};

static_assert(sizeof(bfloat16) == 2);

// What bfloat16 keeps of a number: float(bfloat16(value)), in a form that stays in lanes of 32 bits.
[[gnu::always_inline]] inline float kept_by_bfloat16(float value) {
  const uint32_t word = __builtin_bit_cast(uint32_t, value);
  const uint32_t rounded = word + 0x7fffu + (word >> 16 & 1u);
  return __builtin_bit_cast(float, (value == value ? rounded : word | 0x400000u) & 0xffff0000u);
}

}  // namespace kw::cpu
