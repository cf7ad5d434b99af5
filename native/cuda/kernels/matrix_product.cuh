// Matrix products, a tile of the result for each block: on bfloat16 and TF32 tensor cores, or in float32. The operands come through asynchronous copies in
// three stages; where they lie in memory is the business of the operand types, where the result goes that of the store types.
#pragma once

#include "cuda/kernels/primitives.cuh"

namespace kw::cuda::device {

/** Elements in 16 bytes: what one copy or store moves. */
template <class T>
constexpr int kVector = 16 / static_cast<int>(sizeof(T));

/** How much of the sum is in shared memory in one stage: 64 bytes of each operand's line. */
template <class T>
constexpr int kStageDepth = 64 / static_cast<int>(sizeof(T));

constexpr int kStages = 3;

/** The part of the result that a block makes: warps side by side, each with tiles of 16x8. */
template <int kRowWarpsOf, int kColumnWarpsOf, int kRowTilesOf, int kColumnTilesOf>
struct Blocking {
  static constexpr int kRowWarps = kRowWarpsOf, kColumnWarps = kColumnWarpsOf, kRowTiles = kRowTilesOf, kColumnTiles = kColumnTilesOf;
  static constexpr int kRows = kRowWarps * kRowTiles * 16, kColumns = kColumnWarps * kColumnTiles * 8;
  static constexpr int kThreads = kRowWarps * kColumnWarps * kWarpSize;
};

/** How an operand's lines, the runs of elements that are neighbours in memory, lie to the sum. */
enum class Lines { along_sum, across_sum };

/** One stage of an operand in shared memory. `kWidth`: the rows (or columns) of the block. The gap after each line keeps banks apart. */
template <class T, Lines kLines, int kWidth>
struct StagedTile {
  static constexpr bool kAlong = kLines == Lines::along_sum;
  static constexpr int kCount = kAlong ? kWidth : kStageDepth<T>;
  static constexpr int kLength = kAlong ? kStageDepth<T> : kWidth;
  static constexpr int kStride = kLength + (sizeof(T) == 2 || !kAlong ? 8 : 4);
  static constexpr int kElements = kCount * kStride;
};

/** The sums of a warp's tiles of 16x8, as the tensor cores keep them. */
template <class Blocking>
class TensorSums {
 public:
  /** Calls visit(row, column, value) for each sum of this thread, counted within the block. */
  template <class Visit>
  __device__ void for_each(const Visit& visit) const {
#pragma unroll
    for (int i = 0; i < Blocking::kRowTiles; ++i) {
#pragma unroll
      for (int j = 0; j < Blocking::kColumnTiles; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) visit(first_row_ + i * 16 + lane_ / 4 + e / 2 * 8, first_column_ + j * 8 + lane_ % 4 * 2 + e % 2, sums_[i][j][e]);
      }
    }
  }

 protected:
  int lane_ = static_cast<int>(threadIdx.x) % kWarpSize;
  int first_row_ = static_cast<int>(threadIdx.x) / kWarpSize / Blocking::kColumnWarps * Blocking::kRowTiles * 16;
  int first_column_ = static_cast<int>(threadIdx.x) / kWarpSize % Blocking::kColumnWarps * Blocking::kColumnTiles * 8;
  float sums_[Blocking::kRowTiles][Blocking::kColumnTiles][4] = {};
};

/** Sums of products of bfloat16. */
template <class BlockingOf, Lines kLinesA, Lines kLinesB>
class Bfloat16Sums : public TensorSums<BlockingOf> {
 public:
  using Blocking = BlockingOf;
  using Element = bfloat16;
  using TileA = StagedTile<Element, kLinesA, Blocking::kRows>;
  using TileB = StagedTile<Element, kLinesB, Blocking::kColumns>;
  static_assert(Blocking::kColumnTiles % 2 == 0, "columns are loaded 16 at a time");

  __device__ void accumulate(const bfloat16* a, const bfloat16* b) {
    const int lane = this->lane_, first_row = this->first_row_, first_column = this->first_column_;
#pragma unroll
    for (int depth = 0; depth < kStageDepth<Element>; depth += 16) {
      std::uint32_t rows[Blocking::kRowTiles][4], columns[Blocking::kColumnTiles][2];
#pragma unroll
      for (int tile = 0; tile < Blocking::kRowTiles; ++tile) {
        const int row = first_row + tile * 16;
        if (TileA::kAlong) {
          load_matrix_x4(rows[tile], a + (row + lane % 16) * TileA::kStride + depth + lane / 16 * 8);
        } else {
          load_matrix_x4_transposed(rows[tile], a + (depth + lane / 16 * 8 + lane % 8) * TileA::kStride + row + lane / 8 % 2 * 8);
        }
      }
#pragma unroll
      for (int tile = 0; tile < Blocking::kColumnTiles; tile += 2) {
        const int column = first_column + tile * 8;
        std::uint32_t pair[4];
        if (TileB::kAlong) {
          load_matrix_x4(pair, b + (column + lane % 8 + lane / 16 * 8) * TileB::kStride + depth + lane / 8 % 2 * 8);
        } else {
          load_matrix_x4_transposed(pair, b + (depth + lane % 16) * TileB::kStride + column + lane / 16 * 8);
        }
        columns[tile][0] = pair[0], columns[tile][1] = pair[1];
        columns[tile + 1][0] = pair[2], columns[tile + 1][1] = pair[3];
      }
      multiply_tile(this->sums_, rows, columns);
    }
  }
};

/** Sums of products of float32 rounded to TF32. */
template <class BlockingOf, Lines kLinesA, Lines kLinesB>
class Tf32Sums : public TensorSums<BlockingOf> {
 public:
  using Blocking = BlockingOf;
  using Element = float;
  using TileA = StagedTile<Element, kLinesA, Blocking::kRows>;
  using TileB = StagedTile<Element, kLinesB, Blocking::kColumns>;

  __device__ void accumulate(const float* a, const float* b) {
    const int lane = this->lane_, first_row = this->first_row_, first_column = this->first_column_;
    const auto at_a = [&](int row, int depth) { return to_tf32(TileA::kAlong ? a[row * TileA::kStride + depth] : a[depth * TileA::kStride + row]); };
    const auto at_b = [&](int depth, int column) {
      return to_tf32(TileB::kAlong ? b[column * TileB::kStride + depth] : b[depth * TileB::kStride + column]);
    };
#pragma unroll
    for (int depth = 0; depth < kStageDepth<Element>; depth += 8) {
      std::uint32_t rows[Blocking::kRowTiles][4], columns[Blocking::kColumnTiles][2];
      const int k = depth + lane % 4;
#pragma unroll
      for (int tile = 0; tile < Blocking::kRowTiles; ++tile) {
        const int row = first_row + tile * 16 + lane / 4;
        rows[tile][0] = at_a(row, k), rows[tile][1] = at_a(row + 8, k);
        rows[tile][2] = at_a(row, k + 4), rows[tile][3] = at_a(row + 8, k + 4);
      }
#pragma unroll
      for (int tile = 0; tile < Blocking::kColumnTiles; ++tile) {
        const int column = first_column + tile * 8 + lane / 4;
        columns[tile][0] = at_b(k, column), columns[tile][1] = at_b(k + 4, column);
      }
      multiply_tile_tf32(this->sums_, rows, columns);
    }
  }
};

/** Sums of products of float32, by the ordinary units: 16x16 threads, each with rows/16 x columns/16 sums. */
template <class BlockingOf, Lines kLinesA, Lines kLinesB>
class Float32Sums {
 public:
  using Blocking = BlockingOf;
  using Element = float;
  using TileA = StagedTile<Element, kLinesA, Blocking::kRows>;
  using TileB = StagedTile<Element, kLinesB, Blocking::kColumns>;
  static constexpr int kRowsOfThread = Blocking::kRows / 16, kColumnsOfThread = Blocking::kColumns / 16;
  static_assert(Blocking::kThreads == 256 && kRowsOfThread % 4 == 0 && kColumnsOfThread % 4 == 0, "16x16 threads with four of each at least");

  __device__ void accumulate(const float* a, const float* b) {
#pragma unroll
    for (int depth = 0; depth < kStageDepth<Element>; depth += 4) {
      float rows[kRowsOfThread][4], columns[kColumnsOfThread][4];  // four steps of the sum each
      load<TileA, kRowsOfThread>(a, depth, thread_row(), rows);
      load<TileB, kColumnsOfThread>(b, depth, thread_column(), columns);
#pragma unroll
      for (int k = 0; k < 4; ++k) {
#pragma unroll
        for (int i = 0; i < kRowsOfThread; ++i) {
#pragma unroll
          for (int j = 0; j < kColumnsOfThread; ++j) sums_[i][j] += rows[i][k] * columns[j][k];
        }
      }
    }
  }

  template <class Visit>
  __device__ void for_each(const Visit& visit) const {
#pragma unroll
    for (int i = 0; i < kRowsOfThread; ++i) {
#pragma unroll
      for (int j = 0; j < kColumnsOfThread; ++j) visit(index<TileA>(thread_row(), i), index<TileB>(thread_column(), j), sums_[i][j]);
    }
  }

 private:
  static __device__ int thread_row() { return static_cast<int>(threadIdx.x) / 16; }
  static __device__ int thread_column() { return static_cast<int>(threadIdx.x) % 16; }

  /** The `i`th row or column of a thread: such that what 16 threads read together lies in different banks. */
  template <class Tile>
  static __device__ int index(int thread, int i) {
    return Tile::kAlong ? thread + 16 * i : thread * 4 + i / 4 * 64 + i % 4;
  }

  template <class Tile, int kCount>
  static __device__ void load(const float* tile, int depth, int thread, float (&values)[kCount][4]) {
    if constexpr (Tile::kAlong) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const float4 four = load_vector<float4>(tile + index<Tile>(thread, i) * Tile::kStride + depth);
        values[i][0] = four.x, values[i][1] = four.y, values[i][2] = four.z, values[i][3] = four.w;
      }
    } else {
#pragma unroll
      for (int k = 0; k < 4; ++k) {
#pragma unroll
        for (int i = 0; i < kCount; i += 4) {
          const float4 four = load_vector<float4>(tile + (depth + k) * Tile::kStride + index<Tile>(thread, i));
          values[i][k] = four.x, values[i + 1][k] = four.y, values[i + 2][k] = four.z, values[i + 3][k] = four.w;
        }
      }
    }
  }

  float sums_[kRowsOfThread][kColumnsOfThread] = {};
};

/** Shared memory in bytes of matrix_product. */
template <class Sums, class Result>
constexpr int matrix_product_bytes() {
  const int staged = kStages * (Sums::TileA::kElements + Sums::TileB::kElements) * static_cast<int>(sizeof(typename Sums::Element));
  const int result = Sums::Blocking::kRows * (Sums::Blocking::kColumns + kVector<Result>) * static_cast<int>(sizeof(Result));
  return max(staged, result);
}

/** Queues the copy of one stage of an operand: its lines from `line`, their elements from `position`. */
template <class Tile, int kThreads, class Element, class Operand>
__device__ void copy_stage(const Operand& operand, int line, int position, Element* tile) {
  constexpr int kVectors = Tile::kLength / kVector<Element>;
  for (int index = static_cast<int>(threadIdx.x); index < Tile::kCount * kVectors; index += kThreads) {
    const int of_tile = index / kVectors, within = index % kVectors * kVector<Element>;
    operand.copy(tile + of_tile * Tile::kStride + within, line + of_tile, position + within);
  }
}

/**
 * The block's tile, from row `first_row` and column `first_column`, of the product of `a` and `b`, summed over the indices from `begin` (a multiple of the stage's
 * depth) to `end`; then store(row, column, values) for each 16 bytes of it, also past the end of the matrix.
 *
 * An operand's copy(shared, line, position) queues the copy of 16 bytes, zeros outside of the matrix: lines are rows (of b: columns) and positions steps of the
 * sum where its lines are along the sum, else lines are steps. Sums beyond `end` must be zeros of one of the operands, unless `end` is a multiple of the depth.
 */
template <class Sums, class OperandA, class OperandB, class Store>
__device__ void matrix_product(const OperandA& a, const OperandB& b, int first_row, int first_column, int begin, int end, const Store& store) {
  using Element = typename Sums::Element;
  using Result = typename Store::Element;
  using TileA = typename Sums::TileA;
  using TileB = typename Sums::TileB;
  constexpr int kThreads = Sums::Blocking::kThreads, kDepth = kStageDepth<Element>, kStageElements = TileA::kElements + TileB::kElements;
  auto* stages = reinterpret_cast<Element*>(dynamic_shared());
  const auto copy = [&](int step) {
    Element* stage = stages + step % kStages * kStageElements;
    const int depth = begin + step * kDepth;
    copy_stage<TileA, kThreads>(a, TileA::kAlong ? first_row : depth, TileA::kAlong ? depth : first_row, stage);
    copy_stage<TileB, kThreads>(b, TileB::kAlong ? first_column : depth, TileB::kAlong ? depth : first_column, stage + TileA::kElements);
  };
  const int steps = ceil_divide(end - begin, kDepth);
  for (int step = 0; step < kStages - 1; ++step) {
    if (step < steps) copy(step);
    commit_copies();
  }
  Sums sums;
  for (int step = 0; step < steps; ++step) {
    wait_copies<kStages - 2>();
    syncthreads();
    if (step + kStages - 1 < steps) copy(step + kStages - 1);
    commit_copies();
    const Element* stage = stages + step % kStages * kStageElements;
    sums.accumulate(stage, stage + TileA::kElements);
  }
  wait_copies<0>();
  syncthreads();
  // Through shared memory, so that neighbouring threads write neighbouring addresses.
  constexpr int kStride = Sums::Blocking::kColumns + kVector<Result>, kVectors = Sums::Blocking::kColumns / kVector<Result>;
  auto* result = reinterpret_cast<Result*>(dynamic_shared());
  sums.for_each([&](int row, int column, float value) { store_as(result + row * kStride + column, value); });
  syncthreads();
  for (int index = static_cast<int>(threadIdx.x); index < Sums::Blocking::kRows * kVectors; index += kThreads) {
    const int row = index / kVectors, column = index % kVectors * kVector<Result>;
    store(first_row + row, first_column + column, result + row * kStride + column);
  }
}

}  // namespace kw::cuda::device
