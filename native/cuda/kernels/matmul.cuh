// c = op(a) op(b) + bias in float32, in tiles of shared memory: by multiply-adds, or on the tensor cores with operands rounded to tf32. Any
// shape and any transposition is one kernel, because an operand is read by its two strides and shared memory is filled by asynchronous
// copies of 4 bytes, or of 16 where both memories run the same way.
#pragma once

#include "cuda/kernels/primitives.cuh"

namespace kw::cuda::device {

constexpr int kMatmulThreads = 256;
constexpr int kMatmulDepth = 16;  // of a tile along the inner axis
constexpr int kMatmulStages = 3;  // tiles in shared memory: one is multiplied while the others are on their way

/** Elements of op(a) or op(b)^T, [rows, inner]; one of the strides is 1. */
struct MatmulOperand {
  const float* data;
  int rows;
  long long row_stride, inner_stride;
  bool packed;  // runs of four along the stride 1 start at multiples of 16 bytes and do not pass an end
};

/** c [rows, columns] with gridDim.z == 1, else parts [gridDim.z, rows, columns], each the sum over a part of the inner axis, without the
 * bias. */
struct Matmul {
  MatmulOperand a, b;
  int inner;
  const float* bias;  // [columns]; null: none
  float* c;
};

/**
 * A tile of kRows x kMatmulDepth numbers of one operand in shared memory. Threads that multiply-add read neighbouring rows at one depth, so
 * the rows lie side by side; tensor cores read some depths of eight rows, and the depths do. The padding keeps these reads free of bank
 * conflicts.
 */
template <int kRows, bool kTensorCores>
struct MatmulTile {
  static constexpr int kRowStride = kTensorCores ? kMatmulDepth + 4 : 1;
  static constexpr int kInnerStride = kTensorCores ? 1 : kRows + 4;
  static constexpr int kSize = kTensorCores ? kRows * (kMatmulDepth + 4) : kMatmulDepth * (kRows + 4);

  /** Starts the copy; zeros beyond the operand's ends. */
  __device__ __forceinline__ static void start_copy(float* tile, const MatmulOperand& operand, int first_row, int first_inner,
                                                    int last_inner) {
    const int thread = static_cast<int>(threadIdx.x);
    const bool inner_is_contiguous = operand.inner_stride == 1;
    if (operand.packed && inner_is_contiguous == kTensorCores) {
      constexpr int kAcross = (kTensorCores ? kMatmulDepth : kRows) / 4;  // packs along the stride 1
#pragma unroll
      for (int i = thread; i < kRows * kMatmulDepth / 4; i += kMatmulThreads) {
        const int row = kTensorCores ? i / kAcross : i % kAcross * 4, inner = kTensorCores ? i % kAcross * 4 : i / kAcross;
        copy(tile, operand, row, inner, first_row, first_inner, last_inner,
             [](float* to, const float* from, bool valid) { copy_async_16(to, from, valid); });
      }
      return;
    }
#pragma unroll 4
    for (int i = thread; i < kRows * kMatmulDepth; i += kMatmulThreads) {
      const int row = inner_is_contiguous ? i / kMatmulDepth : i % kRows, inner = inner_is_contiguous ? i % kMatmulDepth : i / kRows;
      copy(tile, operand, row, inner, first_row, first_inner, last_inner,
           [](float* to, const float* from, bool valid) { copy_async_4(to, from, valid); });
    }
  }

 private:
  template <class Copy>
  __device__ __forceinline__ static void copy(float* tile, const MatmulOperand& operand, int row, int inner, int first_row, int first_inner,
                                              int last_inner, const Copy& copy_async) {
    const bool valid = first_row + row < operand.rows && first_inner + inner < last_inner;
    const long long at = (first_row + row) * operand.row_stride + (first_inner + inner) * operand.inner_stride;
    copy_async(tile + row * kRowStride + inner * kInnerStride, operand.data + (valid ? at : 0), valid);
  }
};

/** Where an element of the block's result goes: to c with the bias, or to its part. Rows and columns beyond the ends are left out. */
struct MatmulResult {
  float* to;
  const float* bias;
  int rows, columns;

  __device__ __forceinline__ explicit MatmulResult(const Matmul& matmul)
      : to(matmul.c + (gridDim.z > 1 ? static_cast<long long>(blockIdx.z) * matmul.a.rows * matmul.b.rows : 0)),
        bias(gridDim.z > 1 ? nullptr : matmul.bias),
        rows(matmul.a.rows),
        columns(matmul.b.rows) {}
  __device__ __forceinline__ void store(int row, int column, float value) const {
    if (row < rows && column < columns) to[static_cast<long long>(row) * columns + column] = value + (bias ? bias[column] : 0.0f);
  }
};

/** Multiply-adds: 16 x 16 threads, each with (kTile / 16)^2 sums, four neighbours of every 64 rows and columns. */
template <int kTile>
struct MultiplyAdds {
  using Tile = MatmulTile<kTile, false>;
  static constexpr int kFours = kTile / 64;
  float sums[kFours * 4][kFours * 4] = {};
  int row = static_cast<int>(threadIdx.x) / 16 * 4, column = static_cast<int>(threadIdx.x) % 16 * 4;

  __device__ __forceinline__ void add_tile(const float* a, const float* b) {
#pragma unroll
    for (int k = 0; k < kMatmulDepth; ++k) {
      float left[kFours * 4], right[kFours * 4];
      load_fours(a + k * Tile::kInnerStride + row, left);
      load_fours(b + k * Tile::kInnerStride + column, right);
#pragma unroll
      for (int i = 0; i < kFours * 4; ++i) {
#pragma unroll
        for (int j = 0; j < kFours * 4; ++j) sums[i][j] = fmaf(left[i], right[j], sums[i][j]);
      }
    }
  }

  __device__ __forceinline__ void store(const MatmulResult& result, int first_row, int first_column) const {
#pragma unroll
    for (int i = 0; i < kFours * 4; ++i) {
#pragma unroll
      for (int j = 0; j < kFours * 4; ++j) {
        result.store(first_row + i / 4 * 64 + row + i % 4, first_column + j / 4 * 64 + column + j % 4, sums[i][j]);
      }
    }
  }

 private:
  __device__ __forceinline__ static void load_fours(const float* from, float (&values)[kFours * 4]) {
#pragma unroll
    for (int i = 0; i < kFours; ++i) {
      const float4 four = load_vector<float4>(from + i * 64);
      values[4 * i] = four.x, values[4 * i + 1] = four.y, values[4 * i + 2] = four.z, values[4 * i + 3] = four.w;
    }
  }
};

/** Tensor cores: 2 x 4 warps, each with a part of kTile / 2 rows and kTile / 4 columns, in tiles of 16 x 8. */
template <int kTile>
struct TensorTiles {
  using Tile = MatmulTile<kTile, true>;
  static constexpr int kRowTiles = kTile / 32, kColumnTiles = kTile / 32;
  float sums[kRowTiles][kColumnTiles][4] = {};
  int row = static_cast<int>(threadIdx.x) / kWarpSize / 4 * (kTile / 2) + static_cast<int>(threadIdx.x) % kWarpSize / 4;
  int column = static_cast<int>(threadIdx.x) / kWarpSize % 4 * (kTile / 4);
  int group = static_cast<int>(threadIdx.x) % kWarpSize / 4, quarter = static_cast<int>(threadIdx.x) % 4;

  __device__ __forceinline__ void add_tile(const float* a, const float* b) {
#pragma unroll
    for (int k = 0; k < kMatmulDepth; k += 8) {
      std::uint32_t left[kRowTiles][4], right[kColumnTiles][2];
#pragma unroll
      for (int i = 0; i < kRowTiles; ++i) {
        const float* from = a + (row + 16 * i) * Tile::kRowStride + k + quarter;
        left[i][0] = to_tf32(from[0]);
        left[i][1] = to_tf32(from[8 * Tile::kRowStride]);
        left[i][2] = to_tf32(from[4]);
        left[i][3] = to_tf32(from[8 * Tile::kRowStride + 4]);
      }
#pragma unroll
      for (int j = 0; j < kColumnTiles; ++j) {
        const float* from = b + (column + 8 * j + group) * Tile::kRowStride + k + quarter;
        right[j][0] = to_tf32(from[0]);
        right[j][1] = to_tf32(from[4]);
      }
      multiply_tile_tf32(sums, left, right);
    }
  }

  __device__ __forceinline__ void store(const MatmulResult& result, int first_row, int first_column) const {
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
      for (int j = 0; j < kColumnTiles; ++j) {
#pragma unroll
        for (int part = 0; part < 4; ++part) {
          result.store(first_row + row + 16 * i + part / 2 * 8, first_column + column + 8 * j + quarter * 2 + part % 2, sums[i][j][part]);
        }
      }
    }
  }
};

template <int kTile, bool kTensorCores>
constexpr int kMatmulSharedBytes = kMatmulStages * 2 * MatmulTile<kTile, kTensorCores>::kSize * static_cast<int>(sizeof(float));

template <bool kTensorCores, int kTile>
struct MatmulSums;
template <int kTile>
struct MatmulSums<false, kTile> : MultiplyAdds<kTile> {};
template <int kTile>
struct MatmulSums<true, kTile> : TensorTiles<kTile> {};

/** A block has kTile x kTile results of one part of the inner axis. blockIdx: rows, columns, parts. */
template <int kTile, bool kTensorCores>
__global__ void __launch_bounds__(kMatmulThreads, kTile > 64 ? 1 : 2) multiply_matrices(Matmul matmul) {
  using Tile = MatmulTile<kTile, kTensorCores>;
  float* const shared = reinterpret_cast<float*>(dynamic_shared());
  const int first_row = static_cast<int>(blockIdx.x) * kTile, first_column = static_cast<int>(blockIdx.y) * kTile;
  // Parts are whole tiles deep, so that packs stay on multiples of 16 bytes.
  const int tiles = ceil_divide(matmul.inner, kMatmulDepth);
  const int first_tile = static_cast<int>(static_cast<long long>(tiles) * blockIdx.z / gridDim.z);
  const int count = static_cast<int>(static_cast<long long>(tiles) * (blockIdx.z + 1) / gridDim.z) - first_tile;
  const auto tile_of = [&](int step) { return shared + step % kMatmulStages * 2 * Tile::kSize; };
  const auto start = [&](int step) {
    if (step < count) {
      const int inner = (first_tile + step) * kMatmulDepth;
      Tile::start_copy(tile_of(step), matmul.a, first_row, inner, matmul.inner);
      Tile::start_copy(tile_of(step) + Tile::kSize, matmul.b, first_column, inner, matmul.inner);
    }
    commit_copies();  // an empty group too, so that the number of groups tells which tiles are there
  };
#pragma unroll
  for (int step = 0; step < kMatmulStages - 1; ++step) start(step);
  MatmulSums<kTensorCores, kTile> sums;
  for (int step = 0; step < count; ++step) {
    wait_copies<kMatmulStages - 2>();
    syncthreads();  // the tile is there for all, and nobody still reads the one that is copied over next
    start(step + kMatmulStages - 1);
    sums.add_tile(tile_of(step), tile_of(step) + Tile::kSize);
  }
  sums.store(MatmulResult(matmul), first_row, first_column);
}

/** c [rows, columns] = the sum over parts [count, rows, columns], in order, plus the bias. */
__global__ void add_matmul_parts(const float* parts, int count, long long size, int columns, const float* bias, float* c) {
  const long long stride = static_cast<long long>(gridDim.x) * blockDim.x;
  for (long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; i < size; i += stride) {
    float sum = parts[i];
    for (int part = 1; part < count; ++part) sum += parts[part * size + i];
    c[i] = sum + (bias ? bias[i % columns] : 0.0f);
  }
}

}  // namespace kw::cuda::device
