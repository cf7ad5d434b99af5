// The kernels for matrix tiles once more, over tiles in plain C++: they can be tested on any processor.
#define KW_SIMD_NAMESPACE emulated
#include "emulated_tiles.h"

#include <cstring>

#include "cpu/simd/tile_kernels.h"

namespace kw::cpu::emulated {

namespace {

// Configured tiles are all zero; whoever forgets to configure them or releases them too early computes with NaNs.
thread_local unsigned char memory[8][16][64];

float widen(const unsigned char* from) {
  uint16_t bits;
  std::memcpy(&bits, from, sizeof(bits));
  const uint32_t word = uint32_t{bits} << 16;
  float value;
  std::memcpy(&value, &word, sizeof(value));
  return value;
}

struct Tiles {
  static void configure() { std::memset(memory, 0, sizeof(memory)); }
  static void release() { std::memset(memory, 0xff, sizeof(memory)); }
  template <int kTile>
  static void zero() {
    std::memset(memory[kTile], 0, sizeof(memory[kTile]));
  }
  template <int kTile>
  static void load(const void* from, int64_t stride) {
    for (int64_t row = 0; row < 16; ++row) std::memcpy(memory[kTile][row], static_cast<const char*>(from) + row * stride, 64);
  }
  template <int kTile>
  static void store(void* to, int64_t stride) {
    for (int64_t row = 0; row < 16; ++row) std::memcpy(static_cast<char*>(to) + row * stride, memory[kTile][row], 64);
  }
  template <int kSums, int kFirst, int kSecond>
  static void multiply() {
    for (int row = 0; row < 16; ++row) {
      for (int column = 0; column < 16; ++column) {
        float sum;
        std::memcpy(&sum, &memory[kSums][row][column * 4], sizeof(sum));
        for (int term = 0; term < 32; ++term) {
          sum += widen(&memory[kFirst][row][term * 2]) * widen(&memory[kSecond][term / 2][column * 4 + term % 2 * 2]);
        }
        std::memcpy(&memory[kSums][row][column * 4], &sum, sizeof(sum));
      }
    }
  }
};

}  // namespace

const MixingKernels& mixing_kernels() {
  static const MixingKernels kernels = {32, 0, 0, nullptr, nullptr, nullptr, nullptr, &TileProducts<Tiles>::kernels};
  return kernels;
}

}  // namespace kw::cpu::emulated
