// Tiles of operands in shared memory, and the fragments of them that the tensor cores take from registers.
#pragma once

#include "cuda/kernels/primitives.cuh"

namespace kw::cuda::device {

/** Which index of an operand runs along memory: K, the one that is summed over, or MN, the row of A or the column of B. */
enum class Major { k, mn };

/**
 * A tile of an operand in shared memory: kRows rows of A, or columns of B, by kDepth of K. Each run of neighbours is followed by kPadding
 * unused elements, so that the threads which read at the same time meet different banks.
 */
template <class T, int kRowsOf, int kDepthOf, Major kMajorOf, int kPadding>
class SharedTile {
 public:
  using Element = T;
  static constexpr Major kMajor = kMajorOf;
  static constexpr int kRows = kRowsOf, kDepth = kDepthOf;
  static constexpr int kLines = kMajor == Major::k ? kRows : kDepth;  // runs of neighbours
  static constexpr int kLineLength = kMajor == Major::k ? kDepth : kRows;
  static constexpr int kPitch = kLineLength + kPadding;  // from a line to the next
  static constexpr int kElements = kLines * kPitch;

  __device__ __forceinline__ explicit SharedTile(T* data) : data_(data) {}

  __device__ __forceinline__ T* at(int row, int k) const {
    return kMajor == Major::k ? data_ + row * kPitch + k : data_ + k * kPitch + row;
  }
  __device__ __forceinline__ T* in_line(int line, int position) const { return data_ + line * kPitch + position; }

 private:
  T* data_;
};

/**
 * A K-major tile, 16 deep, that is swizzled instead of padded: which half of a row's 32 bytes comes first changes with every four rows, so
 * that the eight rows which ldmatrix reads at once lie in different banks.
 */
class SwizzledTile {
 public:
  static constexpr Major kMajor = Major::k;
  static constexpr int kDepth = 16;

  __device__ __forceinline__ explicit SwizzledTile(bfloat16* data) : data_(data) {}

  __device__ __forceinline__ bfloat16* at(int row, int k) const { return data_ + row * kDepth + (k / 8 ^ row / 4 % 2) * 8 + k % 8; }

 private:
  bfloat16* data_;
};

/** Copies kCount elements to shared memory, asynchronously where they are 4 or 16 bytes. Writes zeros when not `valid`; `global` must be a
 * device address even then. */
template <int kCount, class T>
__device__ __forceinline__ void copy_elements(T* shared, const T* global, bool valid) {
  if constexpr (kCount * sizeof(T) == 16) {
    copy_async_16(shared, global, valid);
  } else if constexpr (kCount * sizeof(T) == 4) {
    copy_async_4(shared, global, valid);
  } else {
    static_assert(kCount == 1);
    T element{};
    if (valid) element = *global;
    *shared = element;
  }
}

__device__ __forceinline__ int lane_index() { return static_cast<int>(threadIdx.x) % kWarpSize; }

/** Of bfloat16, one instruction multiplies 16 of K; of TF32, 8. */
template <class T>
constexpr int kFragmentDepth = 32 / static_cast<int>(sizeof(T));

/** What a lane holds of kCount tiles of A, each 16 rows by kFragmentDepth, in the order that multiply_tile documents. */
template <class T, int kCount>
struct FragmentA {
  std::uint32_t words[kCount][4];

  template <class Tile>
  __device__ __forceinline__ void load(const Tile& tile, int first_row, int k) {
    const int lane = lane_index();
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int row = first_row + i * 16;
      if constexpr (sizeof(T) == 4) {
#pragma unroll
        for (int e = 0; e < 4; ++e) words[i][e] = to_tf32(*tile.at(row + lane / 4 + e % 2 * 8, k + lane % 4 + e / 2 * 4));
      } else if constexpr (Tile::kMajor == Major::k) {
        load_matrix_x4(words[i], tile.at(row + lane % 16, k + lane / 16 * 8));
      } else {
        load_matrix_x4_transposed(words[i], tile.at(row + lane / 8 % 2 * 8, k + lane / 16 * 8 + lane % 8));
      }
    }
  }
};

/** What a lane holds of kCount tiles of B, each kFragmentDepth by 8 columns. */
template <class T, int kCount>
struct FragmentB {
  std::uint32_t words[kCount][2];

  template <class Tile>
  __device__ __forceinline__ void load(const Tile& tile, int first_column, int k) {
    const int lane = lane_index();
    if constexpr (sizeof(T) == 4) {
#pragma unroll
      for (int j = 0; j < kCount; ++j) {
#pragma unroll
        for (int e = 0; e < 2; ++e) words[j][e] = to_tf32(*tile.at(first_column + j * 8 + lane / 4, k + lane % 4 + e * 4));
      }
    } else {
#pragma unroll
      for (int j = 0; j < kCount; j += 2) {
        std::uint32_t pair[4];
        const int column = first_column + j * 8 + lane / 16 * 8;
        if constexpr (Tile::kMajor == Major::k) {
          load_matrix_x4(pair, tile.at(column + lane % 8, k + lane / 8 % 2 * 8));
        } else {
          load_matrix_x4_transposed(pair, tile.at(column, k + lane % 16));
        }
        set_pair(j, pair);
      }
    }
  }

  /** Tiles j and j + 1 from the four matrices of one load; the second is dropped where there is no such tile. */
  __device__ __forceinline__ void set_pair(int j, const std::uint32_t (&matrices)[4]) {
    words[j][0] = matrices[0], words[j][1] = matrices[1];
    if (j + 1 < kCount) words[j + 1][0] = matrices[2], words[j + 1][1] = matrices[3];
  }
};

/** accumulators += a * b, on the tensor cores. */
template <int kCountA, int kCountB>
__device__ __forceinline__ void multiply_fragments(float (&accumulators)[kCountA][kCountB][4], const FragmentA<bfloat16, kCountA>& a,
                                                   const FragmentB<bfloat16, kCountB>& b) {
  multiply_tile(accumulators, a.words, b.words);
}

template <int kCountA, int kCountB>
__device__ __forceinline__ void multiply_fragments(float (&accumulators)[kCountA][kCountB][4], const FragmentA<float, kCountA>& a,
                                                   const FragmentB<float, kCountB>& b) {
  multiply_tile_tf32(accumulators, a.words, b.words);
}

}  // namespace kw::cuda::device
