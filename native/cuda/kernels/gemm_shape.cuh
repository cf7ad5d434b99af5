// How a thread block multiplies its tiles: the arithmetic, the block's share of the result, and each thread's share of that in registers.
#pragma once

#include "cuda/kernels/shared_tile.cuh"

namespace kw::cuda::device {

/** On the tensor cores, in bfloat16. */
struct Bfloat16Mma {
  using Element = bfloat16;
  static constexpr int padding(Major) { return 8; }  // 16 bytes: ldmatrix reads 16 of each of eight lines
};

/** On the tensor cores, with float32 rounded to TF32. */
struct Tf32Mma {
  using Element = float;
  static constexpr int padding(Major major) { return major == Major::k ? 4 : 8; }  // lanes read 8 rows by 4 of K
};

/** By ordinary multiply-adds in float32. */
struct FloatFma {
  using Element = float;
  static constexpr int padding(Major) { return 4; }  // lines stay at multiples of 16 bytes
};

/**
 * What a thread block computes: a block tile of kTile x kTile of the result, by kWarpsM x kWarpsN warps, which have a warp tile each. It
 * goes along K in k-tiles of 64 bytes, kStages of which are in shared memory at once.
 */
template <class MathOf, int kTileOf, int kWarpsMOf, int kWarpsNOf, int kStagesOf>
struct GemmShape {
  using Math = MathOf;
  using Element = typename Math::Element;
  static constexpr int kTile = kTileOf, kWarpsM = kWarpsMOf, kWarpsN = kWarpsNOf, kStages = kStagesOf;
  static constexpr int kThreads = kWarpsM * kWarpsN * kWarpSize;
  static constexpr int kDepth = 64 / static_cast<int>(sizeof(Element));  // of a k-tile
};

/** For convolutions and mixing, with warp tiles of 32 x 32 or 64 x 32. Three stages of the large tile leave room for two blocks on sm_80.
 */
template <class Math, int kTile>
using GemmTile = GemmShape<Math, kTile, 2, kTile == 64 ? 2 : 4, kTile == 64 ? 4 : 3>;

/** The block tile in registers, on the tensor cores: each warp has its warp tile as a grid of 16 x 8 accumulators. */
template <class Shape, Major kMajorA, Major kMajorB>
class BlockAccumulators {
  using T = typename Shape::Element;
  static constexpr int kWarpM = Shape::kTile / Shape::kWarpsM, kWarpN = Shape::kTile / Shape::kWarpsN;
  static constexpr int kCountM = kWarpM / 16, kCountN = kWarpN / 8;

 public:
  __device__ __forceinline__ BlockAccumulators() {
    const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
    first_row_ = warp % Shape::kWarpsM * kWarpM;
    first_column_ = warp / Shape::kWarpsM * kWarpN;
  }

  /** Adds the product of two k-tiles. */
  template <class TileA, class TileB>
  __device__ __forceinline__ void multiply_add(const TileA& a, const TileB& b) {
#pragma unroll
    for (int k = 0; k < Shape::kDepth; k += kFragmentDepth<T>) {
      FragmentA<T, kCountM> rows;
      FragmentB<T, kCountN> columns;
      rows.load(a, first_row_, k);
      columns.load(b, first_column_, k);
      multiply_fragments(sums_, rows, columns);
    }
  }

  /** Calls visit(row, column, value) for each element that this thread has. */
  template <class Visit>
  __device__ __forceinline__ void for_each(const Visit& visit) const {
    const int row = first_row_ + lane_index() / 4, column = first_column_ + lane_index() % 4 * 2;
#pragma unroll
    for (int i = 0; i < kCountM; ++i) {
#pragma unroll
      for (int j = 0; j < kCountN; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) visit(row + i * 16 + e / 2 * 8, column + j * 8 + e % 2, sums_[i][j][e]);
      }
    }
  }

 private:
  int first_row_, first_column_;
  float sums_[kCountM][kCountN][4] = {};
};

/** kCount rows of A, or columns of B, of one thread's; kThreads threads share out the operand's. */
template <Major kMajor, int kCount, int kThreads>
struct FmaRows {
  int thread;

  /** Which row the i-th is: where rows are neighbours in memory, four are read at once; else they are spread over the banks. */
  __device__ __forceinline__ int operator[](int i) const {
    return kMajor == Major::k ? thread + i * kThreads : thread * 4 + i / 4 * 4 * kThreads + i % 4;
  }

  /** Reads kDepth of K, from k. */
  template <class Tile, int kDepth>
  __device__ __forceinline__ void load(float (&values)[kCount][kDepth], const Tile& tile, int k) const {
    if constexpr (kMajor == Major::k) {
      static_assert(kDepth == 4);
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const float4 four = load_vector<float4>(tile.at((*this)[i], k));
        values[i][0] = four.x, values[i][1] = four.y, values[i][2] = four.z, values[i][3] = four.w;
      }
    } else {
#pragma unroll
      for (int e = 0; e < kDepth; ++e) {
#pragma unroll
        for (int i = 0; i < kCount; i += 4) {
          const float4 four = load_vector<float4>(tile.at((*this)[i], k + e));
          values[i][e] = four.x, values[i + 1][e] = four.y, values[i + 2][e] = four.z, values[i + 3][e] = four.w;
        }
      }
    }
  }
};

/** The block tile in registers, by multiply-adds: sixteen threads share out the columns, the others the rows. */
template <int kTile, int kWarpsM, int kWarpsN, int kStages, Major kMajorA, Major kMajorB>
class BlockAccumulators<GemmShape<FloatFma, kTile, kWarpsM, kWarpsN, kStages>, kMajorA, kMajorB> {
  using Shape = GemmShape<FloatFma, kTile, kWarpsM, kWarpsN, kStages>;
  static constexpr int kThreadsN = 16, kThreadsM = Shape::kThreads / kThreadsN;
  static constexpr int kCountM = kTile / kThreadsM, kCountN = kTile / kThreadsN;
  static constexpr int kFragmentDepth = kMajorA == Major::k || kMajorB == Major::k ? 4 : 1;

 public:
  __device__ __forceinline__ BlockAccumulators()
      : rows_{static_cast<int>(threadIdx.x) / kThreadsN}, columns_{static_cast<int>(threadIdx.x) % kThreadsN} {}

  template <class TileA, class TileB>
  __device__ __forceinline__ void multiply_add(const TileA& a, const TileB& b) {
#pragma unroll
    for (int k = 0; k < Shape::kDepth; k += kFragmentDepth) {
      float rows[kCountM][kFragmentDepth], columns[kCountN][kFragmentDepth];
      rows_.load(rows, a, k);
      columns_.load(columns, b, k);
#pragma unroll
      for (int e = 0; e < kFragmentDepth; ++e) {
#pragma unroll
        for (int i = 0; i < kCountM; ++i) {
#pragma unroll
          for (int j = 0; j < kCountN; ++j) sums_[i][j] = fmaf(rows[i][e], columns[j][e], sums_[i][j]);
        }
      }
    }
  }

  template <class Visit>
  __device__ __forceinline__ void for_each(const Visit& visit) const {
#pragma unroll
    for (int i = 0; i < kCountM; ++i) {
#pragma unroll
      for (int j = 0; j < kCountN; ++j) visit(rows_[i], columns_[j], sums_[i][j]);
    }
  }

 private:
  FmaRows<kMajorA, kCountM, kThreadsM> rows_;
  FmaRows<kMajorB, kCountN, kThreadsN> columns_;
  float sums_[kCountM][kCountN] = {};
};

}  // namespace kw::cuda::device
