// The matrix tiles of AMX, by assembly: the numbers of tiles are part of an instruction, and compilers' intrinsics want them as literals.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kw::cpu::KW_SIMD_NAMESPACE {

struct Tiles {
  // All eight tiles have 16 rows of 64 bytes. Whoever computes with tiles configures them for the thread first and releases them after.
  static void configure() {
    struct alignas(64) {
      uint8_t palette = 1, start_row = 0, reserved[14] = {};
      uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } const configuration;
    static_assert(sizeof(configuration) == 64);
    asm volatile("ldtilecfg %0" ::"m"(configuration));
  }
  static void release() { asm volatile("tilerelease" ::: "memory"); }

  template <int kTile>
  static void zero() {
    asm volatile("tilezero %%tmm%c0" ::"i"(kTile));
  }
  // Rows `stride` bytes apart.
  template <int kTile>
  static void load(const void* from, int64_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(kTile) : "memory");
  }
  template <int kTile>
  static void store(void* to, int64_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(kTile) : "memory");
  }
  // sums += first * second, `second` paired.
  template <int kSums, int kFirst, int kSecond>
  static void multiply() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSums), "i"(kFirst), "i"(kSecond));
  }
};

}  // namespace kw::cpu::KW_SIMD_NAMESPACE
