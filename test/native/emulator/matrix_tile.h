// The tensor cores' instructions: loading 8x8 matrices, and products of tiles. Lanes' fragments are gathered into matrices, multiplied, and
// handed out again.
#pragma once

#include <cstdint>
#include <cstring>

#include "emulator/block.h"

namespace kw::emulator {

/** load_matrix_x4: lane l gives a row in shared memory, at a multiple of 16 bytes, and gets four pairs of 16-bit numbers. */
void load_matrix(std::uint32_t (&fragment)[4], const void* row, bool transposed, Location location);

inline float bfloat16_to_float(std::uint32_t bits) {
  const std::uint32_t wide = bits << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

/** A tf32 operand as the tensor cores see it: without its lower 13 bits. */
inline float tf32_to_float(std::uint32_t bits) {
  const std::uint32_t kept = bits & 0xffffe000u;
  float value;
  std::memcpy(&value, &kept, sizeof value);
  return value;
}

template <int kRowTiles, int kColumnTiles>
struct TileOperand {
  float (*accumulator)[kColumnTiles][4];
  const std::uint32_t (*a)[4];
  const std::uint32_t (*b)[2];
};

/** The product of two matrices, row by row, with sums in float32. */
template <int kRows, int kDepth, int kColumns>
inline void multiply_matrices(float (&c)[kRows][kColumns], const float (&a)[kRows][kDepth], const float (&b)[kDepth][kColumns]) {
  for (int row = 0; row < kRows; ++row) {
    for (int k = 0; k < kDepth; ++k) {
      const float factor = a[row][k];
      for (int column = 0; column < kColumns; ++column) c[row][column] += factor * b[k][column];
    }
  }
}

/** m16n8k16 on bfloat16 for every tile, in one meeting of the warp. Which lane holds which element: multiply_tile in primitives.cuh. */
template <int kRowTiles, int kColumnTiles>
void multiply_bfloat16_tiles(void* const* operands, std::uint32_t) {
  using Operand = TileOperand<kRowTiles, kColumnTiles>;
  alignas(64) float a[kRowTiles * 16][16];
  alignas(64) float b[16][kColumnTiles * 8];
  alignas(64) float c[kRowTiles * 16][kColumnTiles * 8];
  for (int lane = 0; lane < kWarpSize; ++lane) {
    const Operand& own = *static_cast<const Operand*>(operands[lane]);
    const int group = lane / 4;
    const int pair = lane % 4 * 2;
    for (int i = 0; i < kRowTiles; ++i) {
      for (int part = 0; part < 4; ++part) {
        float* out = &a[i * 16 + group + part % 2 * 8][pair + part / 2 * 8];
        out[0] = bfloat16_to_float(own.a[i][part] & 0xffff);
        out[1] = bfloat16_to_float(own.a[i][part] >> 16);
      }
      for (int j = 0; j < kColumnTiles; ++j) {
        for (int part = 0; part < 4; ++part) c[i * 16 + group + part / 2 * 8][j * 8 + pair + part % 2] = own.accumulator[i][j][part];
      }
    }
    for (int j = 0; j < kColumnTiles; ++j) {
      for (int part = 0; part < 2; ++part) {
        b[pair + part * 8][j * 8 + group] = bfloat16_to_float(own.b[j][part] & 0xffff);
        b[pair + part * 8 + 1][j * 8 + group] = bfloat16_to_float(own.b[j][part] >> 16);
      }
    }
  }
  multiply_matrices(c, a, b);
  for (int lane = 0; lane < kWarpSize; ++lane) {
    const Operand& own = *static_cast<const Operand*>(operands[lane]);
    for (int i = 0; i < kRowTiles; ++i) {
      for (int j = 0; j < kColumnTiles; ++j) {
        for (int part = 0; part < 4; ++part)
          own.accumulator[i][j][part] = c[i * 16 + lane / 4 + part / 2 * 8][j * 8 + lane % 4 * 2 + part % 2];
      }
    }
  }
}

/** m16n8k8 on tf32 for every tile. Which lane holds which element: multiply_tile_tf32 in primitives.cuh. */
template <int kRowTiles, int kColumnTiles>
void multiply_tf32_tiles(void* const* operands, std::uint32_t) {
  using Operand = TileOperand<kRowTiles, kColumnTiles>;
  alignas(64) float a[kRowTiles * 16][8];
  alignas(64) float b[8][kColumnTiles * 8];
  alignas(64) float c[kRowTiles * 16][kColumnTiles * 8];
  for (int lane = 0; lane < kWarpSize; ++lane) {
    const Operand& own = *static_cast<const Operand*>(operands[lane]);
    const int group = lane / 4;
    const int place = lane % 4;
    for (int i = 0; i < kRowTiles; ++i) {
      for (int part = 0; part < 4; ++part) a[i * 16 + group + part % 2 * 8][place + part / 2 * 4] = tf32_to_float(own.a[i][part]);
      for (int j = 0; j < kColumnTiles; ++j) {
        for (int part = 0; part < 4; ++part) c[i * 16 + group + part / 2 * 8][j * 8 + place * 2 + part % 2] = own.accumulator[i][j][part];
      }
    }
    for (int j = 0; j < kColumnTiles; ++j) {
      for (int part = 0; part < 2; ++part) b[place + part * 4][j * 8 + group] = tf32_to_float(own.b[j][part]);
    }
  }
  multiply_matrices(c, a, b);
  for (int lane = 0; lane < kWarpSize; ++lane) {
    const Operand& own = *static_cast<const Operand*>(operands[lane]);
    for (int i = 0; i < kRowTiles; ++i) {
      for (int j = 0; j < kColumnTiles; ++j) {
        for (int part = 0; part < 4; ++part)
          own.accumulator[i][j][part] = c[i * 16 + lane / 4 + part / 2 * 8][j * 8 + lane % 4 * 2 + part % 2];
      }
    }
  }
}

}  // namespace kw::emulator
