// bfloat16: the upper half of a float. Loops over it vectorise like loops over float.
#pragma once

#include <bit>
#include <cstdint>

namespace kw::cpu {

struct bfloat16 {
  uint16_t bits;

  bfloat16() = default;
  // To nearest, ties to even; a NaN stays one.
  explicit bfloat16(float value) {
    const uint32_t word = std::bit_cast<uint32_t>(value);
    const uint32_t rounded = word + 0x7fffu + (word >> 16 & 1u);
    bits = static_cast<uint16_t>((value == value ? rounded : word | 0x400000u) >> 16);
  }
  operator float() const { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
};

static_assert(sizeof(bfloat16) == 2);

}  // namespace kw::cpu
