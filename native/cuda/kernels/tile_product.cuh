// Products of tiles in shared memory, sums in registers: on the tensor cores in bfloat16 or TF32, or in float32. A block computes a square
// tile of the result in steps of 64 bytes of depth.
#pragma once

#include "cuda/kernels/primitives.cuh"

namespace kw::cuda::device {

// How a tile is multiplied; a template argument.
struct Bfloat16Product {
  using Element = bfloat16;
};
struct Tf32Product {
  using Element = float;
};
struct FloatProduct {
  using Element = float;
};

/** Sizes of a block's work on a result of kTile x kTile, 64 or 128: a warp has 32 columns, and 32 or 64 rows. */
template <class T, int kTile>
struct TileSizes {
  static constexpr int kThreads = kTile == 64 ? 128 : 256;
  static constexpr int kStages = kTile == 64 ? 4 : 3;  // steps in flight; three of the large tile leave room for two blocks on sm_80
  static constexpr int kDepth = 64 / static_cast<int>(sizeof(T));
  static constexpr int kRowStride = kDepth + 16 / static_cast<int>(sizeof(T));  // of [row][depth]: no two of 8 rows in the same banks
  static constexpr int kDepthStride = kTile + 8;                                // of [depth][row]: the same
  static constexpr int kOperandElements = kTile * kRowStride > kDepth* kDepthStride ? kTile* kRowStride : kDepth* kDepthStride;
  static constexpr int kStageElements = 2 * kOperandElements;
  static constexpr int kResultStride = kTile + 4;  // of the result in shared memory, which takes over the stages' place
  static constexpr int kStageBytes = kStages * kStageElements * static_cast<int>(sizeof(T));
  static constexpr int kResultBytes = kTile * kResultStride * 4;
  static constexpr int kBytes = kStageBytes > kResultBytes ? kStageBytes : kResultBytes;
};

/** Copies kVector elements to shared memory: asynchronously where it can. Zeros when not `valid`; `global` is a device address even then.
 */
template <int kVector, class T>
__device__ __forceinline__ void copy_elements(T* shared, const T* global, bool valid) {
  if constexpr (kVector * sizeof(T) == 16) {
    copy_async_16(shared, global, valid);
  } else if constexpr (kVector * sizeof(T) == 4) {
    copy_async_4(shared, global, valid);
  } else {
    static_assert(kVector == 1);
    T element{};
    if (valid) element = *global;
    *shared = element;
  }
}

/**
 * The sums of one thread. An operand lies in shared memory as [row][depth] (kRowMajor; for b its rows are the result's columns) or as
 * [depth][row].
 */
template <class Product, int kTile, bool kRowMajorA, bool kRowMajorB>
class TileSums {
  using Sizes = TileSizes<typename Product::Element, kTile>;
  static constexpr int kWarpRows = kTile == 64 ? 32 : 64;
  static constexpr int kRowTiles = kWarpRows / 16;
  static constexpr int kColumnTiles = 4;

 public:
  __device__ __forceinline__ TileSums() {
    const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
    lane_ = static_cast<int>(threadIdx.x) % kWarpSize;
    first_row_ = warp % 2 * kWarpRows;
    first_column_ = warp / 2 * 32;
  }

  /** sums += a * b over one step's depth, on bfloat16. */
  __device__ __forceinline__ void multiply(const bfloat16* a, const bfloat16* b) {
#pragma unroll
    for (int depth = 0; depth < Sizes::kDepth; depth += 16) {
      std::uint32_t rows[kRowTiles][4], columns[kColumnTiles][2];
#pragma unroll
      for (int i = 0; i < kRowTiles; ++i) {
        const int row = first_row_ + i * 16;
        if constexpr (kRowMajorA) {
          load_matrix_x4(rows[i], a + (row + lane_ % 16) * Sizes::kRowStride + depth + lane_ / 16 * 8);
        } else {
          load_matrix_x4_transposed(rows[i], a + (depth + lane_ / 16 * 8 + lane_ % 8) * Sizes::kDepthStride + row + lane_ / 8 % 2 * 8);
        }
      }
#pragma unroll
      for (int j = 0; j < kColumnTiles; j += 2) {
        const int column = first_column_ + j * 8 + lane_ / 16 * 8;
        std::uint32_t pair[4];
        if constexpr (kRowMajorB) {
          load_matrix_x4(pair, b + (column + lane_ % 8) * Sizes::kRowStride + depth + lane_ / 8 % 2 * 8);
        } else {
          load_matrix_x4_transposed(pair, b + (depth + lane_ % 16) * Sizes::kDepthStride + column);
        }
        columns[j][0] = pair[0], columns[j][1] = pair[1];
        columns[j + 1][0] = pair[2], columns[j + 1][1] = pair[3];
      }
      multiply_tile(sums_, rows, columns);
    }
  }

  /** The same on float32 rounded to TF32. */
  __device__ __forceinline__ void multiply(const float* a, const float* b) {
    const int row = first_row_ + lane_ / 4, column = first_column_ + lane_ / 4;
#pragma unroll
    for (int step = 0; step < Sizes::kDepth; step += 8) {
      const int depth = step + lane_ % 4;
      std::uint32_t rows[kRowTiles][4], columns[kColumnTiles][2];
#pragma unroll
      for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
        for (int e = 0; e < 4; ++e) rows[i][e] = to_tf32(a[offset<kRowMajorA>(row + i * 16 + e % 2 * 8, depth + e / 2 * 4)]);
      }
#pragma unroll
      for (int j = 0; j < kColumnTiles; ++j) {
#pragma unroll
        for (int e = 0; e < 2; ++e) columns[j][e] = to_tf32(b[offset<kRowMajorB>(column + j * 8, depth + e * 4)]);
      }
      multiply_tile_tf32(sums_, rows, columns);
    }
  }

  /** Writes the sums to `tile` [kTile][kResultStride] in shared memory. */
  __device__ __forceinline__ void store(float* tile) const {
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
      for (int j = 0; j < kColumnTiles; ++j) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int row = first_row_ + i * 16 + half * 8 + lane_ / 4, column = first_column_ + j * 8 + lane_ % 4 * 2;
          tile[row * Sizes::kResultStride + column] = sums_[i][j][half * 2];
          tile[row * Sizes::kResultStride + column + 1] = sums_[i][j][half * 2 + 1];
        }
      }
    }
  }

 private:
  template <bool kRowMajor>
  static __device__ __forceinline__ int offset(int row, int depth) {
    return kRowMajor ? row * Sizes::kRowStride + depth : depth * Sizes::kDepthStride + row;
  }

  int lane_, first_row_, first_column_;
  float sums_[kRowTiles][kColumnTiles][4] = {};
};

/** In float32, by the usual arithmetic: 8 rows by 4 columns a thread. */
template <int kTile, bool kRowMajorA, bool kRowMajorB>
class TileSums<FloatProduct, kTile, kRowMajorA, kRowMajorB> {
  static_assert(kTile == 64);
  using Sizes = TileSizes<float, kTile>;
  static constexpr int kRows = 8, kColumns = 4, kRowThreads = kTile / kRows, kColumnThreads = kTile / kColumns;

 public:
  __device__ __forceinline__ TileSums()
      : row_thread_(static_cast<int>(threadIdx.x) / kColumnThreads), column_thread_(static_cast<int>(threadIdx.x) % kColumnThreads) {}

  __device__ __forceinline__ void multiply(const float* a, const float* b) {
#pragma unroll
    for (int depth = 0; depth < Sizes::kDepth; depth += 4) {
      float rows[kRows][4], columns[kColumns][4];
      load<kRowMajorA, kRows, kRowThreads>(rows, a, row_thread_, depth);
      load<kRowMajorB, kColumns, kColumnThreads>(columns, b, column_thread_, depth);
#pragma unroll
      for (int k = 0; k < 4; ++k) {
#pragma unroll
        for (int i = 0; i < kRows; ++i) {
#pragma unroll
          for (int j = 0; j < kColumns; ++j) sums_[i][j] += rows[i][k] * columns[j][k];
        }
      }
    }
  }

  __device__ __forceinline__ void store(float* tile) const {
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
#pragma unroll
      for (int j = 0; j < kColumns; ++j) {
        const int row = index<kRowMajorA, kRowThreads>(row_thread_, i), column = index<kRowMajorB, kColumnThreads>(column_thread_, j);
        tile[row * Sizes::kResultStride + column] = sums_[i][j];
      }
    }
  }

 private:
  // Which row of the operand a thread's i-th is: neighbours where four of them are read at once, else spread over the banks.
  template <bool kRowMajor, int kThreads>
  static __device__ __forceinline__ int index(int thread, int i) {
    return kRowMajor ? thread + i * kThreads : thread * 4 + i / 4 * 4 * kThreads + i % 4;
  }

  // Four of depth, for each of a thread's rows.
  template <bool kRowMajor, int kCount, int kThreads>
  static __device__ __forceinline__ void load(float (&values)[kCount][4], const float* operand, int thread, int depth) {
    if constexpr (kRowMajor) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const float4 four = load_vector<float4>(operand + index<true, kThreads>(thread, i) * Sizes::kRowStride + depth);
        values[i][0] = four.x, values[i][1] = four.y, values[i][2] = four.z, values[i][3] = four.w;
      }
    } else {
#pragma unroll
      for (int k = 0; k < 4; ++k) {
#pragma unroll
        for (int i = 0; i < kCount; i += 4) {
          const float4 four = load_vector<float4>(operand + (depth + k) * Sizes::kDepthStride + index<false, kThreads>(thread, i));
          values[i][k] = four.x, values[i + 1][k] = four.y, values[i + 2][k] = four.z, values[i + 3][k] = four.w;
        }
      }
    }
  }

  int row_thread_, column_thread_;
  float sums_[kRows][kColumns] = {};
};

/**
 * sums += the products of the steps from `first` to before `end`, each of which load(step, a, b) starts to copy to shared memory at
 * `stages`, some steps ahead. The block's threads are together at the end, and the stages are free.
 */
template <class Sizes, class T, class Load, class Sums>
__device__ __forceinline__ void multiply_steps(int first, int end, T* stages, const Load& load, Sums& sums) {
  const auto start = [&](int step) {
    T* a = stages + step % Sizes::kStages * Sizes::kStageElements;
    if (step < end) load(step, a, a + Sizes::kOperandElements);
    commit_copies();
  };
  for (int step = first; step < first + Sizes::kStages - 1; ++step) start(step);
  for (int step = first; step < end; ++step) {
    wait_copies<Sizes::kStages - 2>();
    syncthreads();
    start(step + Sizes::kStages - 1);
    const T* a = stages + step % Sizes::kStages * Sizes::kStageElements;
    sums.multiply(a, a + Sizes::kOperandElements);
  }
  wait_copies<0>();
  syncthreads();
}

}  // namespace kw::cuda::device
