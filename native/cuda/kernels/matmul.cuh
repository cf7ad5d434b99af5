// c = op(a) op(b) + bias in float32, in tiles of shared memory: by multiply-adds, or on the tensor cores with operands rounded to tf32. Any
// shape and any transposition is one kernel, because an operand is read by its two strides and shared memory is filled by asynchronous
// copies of 4 bytes, or of 16 where both memories run the same way.
#pragma once

#include <type_traits>

#include "cuda/kernels/gemm.cuh"

namespace kw::cuda::device {

/** Eight warps for either block tile. */
template <class Math, int kTile>
using MatmulTile = GemmShape<Math, kTile, 2, 4, 3>;

/** For the tensor cores, lanes read along K; for multiply-adds, neighbouring rows at one k. */
template <class Math>
constexpr Major kMatmulMajor = std::is_same_v<Math, FloatFma> ? Major::mn : Major::k;

template <class Math, int kTile>
using MatmulGemm = Gemm<MatmulTile<Math, kTile>, kMatmulMajor<Math>, kMatmulMajor<Math>>;

/** Elements of op(a) or op(b)^T, [rows, k]; one of the strides is 1. */
struct MatmulOperand {
  const float* data;
  int rows;
  long long row_stride, k_stride;
  bool packed;  // runs of four along the stride 1 start at multiples of 16 bytes and do not pass an end
};

/** c [rows, columns]; with split-K, gridDim.z > 1, the splits' sums [gridDim.z, rows, columns] without the bias. */
struct Matmul {
  MatmulOperand a, b;
  int depth;          // the length of K
  const float* bias;  // [columns]; null: none
  float* c;
};

/** Loads the k-tiles of both operands, transposing those that are not as the tiles are. */
template <class Gemm>
struct MatmulLoader {
  using TileA = typename Gemm::TileA;
  using TileB = typename Gemm::TileB;
  const Matmul& matmul;
  int first_row, first_column;

  __device__ __forceinline__ void load(int k_tile, TileA a, TileB b) const {
    copy_tile(a, matmul.a, first_row, k_tile * TileA::kDepth);
    copy_tile(b, matmul.b, first_column, k_tile * TileB::kDepth);
  }

 private:
  static constexpr int kThreads = Gemm::Shape::kThreads;

  template <class Tile>
  __device__ __forceinline__ void copy_tile(Tile tile, const MatmulOperand& operand, int first_row, int first_k) const {
    const int thread = static_cast<int>(threadIdx.x);
    const bool is_k_major = operand.k_stride == 1;
    if (operand.packed && is_k_major == (Tile::kMajor == Major::k)) {
      constexpr int kPacks = Tile::kLineLength / 4;
#pragma unroll
      for (int i = thread; i < Tile::kLines * kPacks; i += kThreads) {
        const int line = i / kPacks, position = i % kPacks * 4;
        const int row = Tile::kMajor == Major::k ? line : position, k = Tile::kMajor == Major::k ? position : line;
        copy<4>(tile, operand, row, k, first_row, first_k);
      }
      return;
    }
#pragma unroll 4
    for (int i = thread; i < Tile::kRows * Tile::kDepth; i += kThreads) {
      const int row = is_k_major ? i / Tile::kDepth : i % Tile::kRows, k = is_k_major ? i % Tile::kDepth : i / Tile::kRows;
      copy<1>(tile, operand, row, k, first_row, first_k);
    }
  }

  template <int kCount, class Tile>
  __device__ __forceinline__ void copy(Tile tile, const MatmulOperand& operand, int row, int k, int first_row, int first_k) const {
    const bool valid = first_row + row < operand.rows && first_k + k < matmul.depth;
    const long long at = (first_row + row) * operand.row_stride + (first_k + k) * operand.k_stride;
    copy_elements<kCount>(tile.at(row, k), operand.data + (valid ? at : 0), valid);
  }
};

/** Writes an element of the block tile to c with the bias, or to its split's sums. Rows and columns beyond the ends are left out. */
struct MatmulEpilogue {
  float* to;
  const float* bias;
  int rows, columns, first_row, first_column;

  __device__ __forceinline__ MatmulEpilogue(const Matmul& matmul, int first_row, int first_column)
      : to(matmul.c + (gridDim.z > 1 ? static_cast<long long>(blockIdx.z) * matmul.a.rows * matmul.b.rows : 0)),
        bias(gridDim.z > 1 ? nullptr : matmul.bias),
        rows(matmul.a.rows),
        columns(matmul.b.rows),
        first_row(first_row),
        first_column(first_column) {}
  __device__ __forceinline__ void operator()(int tile_row, int tile_column, float value) const {
    const int row = first_row + tile_row, column = first_column + tile_column;
    if (row < rows && column < columns) to[static_cast<long long>(row) * columns + column] = value + (bias ? bias[column] : 0.0f);
  }
};

/** A block has one block tile of one split of K. blockIdx: rows, columns, splits. */
template <class Math, int kTile>
__global__ void __launch_bounds__(MatmulTile<Math, kTile>::kThreads, kTile > 64 ? 1 : 2) matmul(Matmul problem) {
  using Gemm = MatmulGemm<Math, kTile>;
  const int first_row = static_cast<int>(blockIdx.x) * kTile, first_column = static_cast<int>(blockIdx.y) * kTile;
  // Splits are whole k-tiles deep, so that packs stay on multiples of 16 bytes.
  const long long k_tiles = ceil_divide(problem.depth, Gemm::Shape::kDepth);
  const int first = static_cast<int>(k_tiles * blockIdx.z / gridDim.z), end = static_cast<int>(k_tiles * (blockIdx.z + 1) / gridDim.z);
  typename Gemm::Accumulators accumulators;
  Pipeline<Gemm>().run(MatmulLoader<Gemm>{problem, first_row, first_column}, first, end, accumulators);
  accumulators.for_each(MatmulEpilogue(problem, first_row, first_column));
}

/** c [rows, columns] = the sum of the splits' [count, rows, columns], in order, plus the bias. */
__global__ void add_matmul_splits(const float* splits, int count, long long size, int columns, const float* bias, float* c) {
  const long long stride = static_cast<long long>(gridDim.x) * blockDim.x;
  for (long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; i < size; i += stride) {
    float sum = splits[i];
    for (int split = 1; split < count; ++split) sum += splits[split * size + i];
    c[i] = sum + (bias ? bias[i % columns] : 0.0f);
  }
}

}  // namespace kw::cuda::device
