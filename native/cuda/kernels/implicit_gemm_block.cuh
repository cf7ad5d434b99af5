// What the blocks of an implicit GEMM need to know: which block tile is theirs, and where its rows and the taps are in the source.
#pragma once

#include "cuda/kernels/convolution_problem.cuh"

namespace kw::cuda::device {

struct ImplicitGemmProblem {
  GatherProblem gather;
  Divider by_depth;          // of gather.depth
  long long row_tiles;       // of the largest phase
  int column_tiles, phases;  // phases: the product of the axes'
  int splits;                // split-K: each split is summed by blocks of its own
  int split_k_tiles;         // of a split; the last may have fewer
  float* split_sums;         // [splits, elements of the result], for sum_splits; null with one split
  bool stores_vectors;       // y and residual allow accesses of 16 bytes
  float* means;              // [weights,row_tiles,O], each block tile's share of the mean over y's positions; null: none
};

/** The block tile that one block computes: of one phase, one group, one split of K and one weight. */
template <int kTile, bool kBackward>
struct ImplicitGemmBlock {
  const ImplicitGemmProblem& problem;
  long long row_tile, weight;
  long long first_row;
  int first_column, group, split;
  AxisPhase phases[3];
  long long positions;  // of the phase, in an image
  int taps, depth;      // of the phase; depth is the length of K

  /** Neighbouring blocks read the same positions, then the same weight. */
  __device__ __forceinline__ explicit ImplicitGemmBlock(const ImplicitGemmProblem& of) : problem(of) {
    const GatherProblem& p = problem.gather;
    long long block = blockIdx.x;
    const auto next = [&block](long long count) {
      const long long index = block % count;
      block /= count;
      return index;
    };
    first_column = static_cast<int>(next(problem.column_tiles)) * kTile;
    row_tile = next(problem.row_tiles);
    group = static_cast<int>(next(p.groups));
    int phase = static_cast<int>(next(problem.phases));
    split = static_cast<int>(next(problem.splits));
    weight = block;
#pragma unroll
    for (int axis = 2; axis >= 0; --axis) {
      const int count = kBackward ? p.axes[axis].stride : 1;
      phases[axis] = axis_phase<kBackward>(p.axes[axis], phase % count);
      phase /= count;
    }
    positions = static_cast<long long>(phases[0].positions) * phases[1].positions * phases[2].positions;
    first_row = row_tile * kTile;
    taps = phases[0].taps * phases[1].taps * phases[2].taps;
    depth = taps * p.depth;
  }

  __device__ __forceinline__ bool is_empty() const { return first_row >= rows(); }
  __device__ __forceinline__ long long rows() const { return problem.gather.images * positions; }
  __device__ __forceinline__ int columns() const { return min(kTile, problem.gather.width - first_column); }
  __device__ __forceinline__ int first_channel() const { return group * problem.gather.width + first_column; }
  __device__ __forceinline__ int result_size(int axis) const {
    return kBackward ? problem.gather.axes[axis].in : problem.gather.axes[axis].out;
  }
};

/** What a row of A is: an image (-1: the row is past the end) and where its window begins. */
using SourceRow = int4;
/** How far a tap is from the window's beginning, along each axis, and which tap of the kernel it is. */
using SourceTap = int4;

/** Tables in shared memory, behind the stages: what is the same for every k-tile is computed once. */
template <int kTile>
struct ImplicitGemmTables {
  SourceRow* rows;     // [kTile]
  SourceTap* taps;     // of the phase
  long long* results;  // [kTile], where a row's position is in the result; -1: nowhere
  float2* channels;    // [kTile], the epilogue's of each column

  __device__ __forceinline__ ImplicitGemmTables(unsigned char* memory, int tap_count)
      : rows(reinterpret_cast<SourceRow*>(memory)),
        taps(reinterpret_cast<SourceTap*>(rows + kTile)),
        results(reinterpret_cast<long long*>(taps + tap_count)),
        channels(reinterpret_cast<float2*>(results + kTile)) {}

  static constexpr int bytes(int tap_count) {
    return kTile * static_cast<int>(sizeof(SourceRow) + sizeof(long long) + sizeof(float2)) +
           tap_count * static_cast<int>(sizeof(SourceTap));
  }

  template <bool kBackward>
  __device__ __forceinline__ void fill(const ImplicitGemmBlock<kTile, kBackward>& block) const {
    if (threadIdx.x < kTile) {
      const int thread = static_cast<int>(threadIdx.x), column = block.first_column + thread;
      const GatherProblem& p = block.problem.gather;
      fill_row(block, thread);
      channels[thread] = column < p.width ? p.epilogue.channel(block.group * p.width + column) : make_float2(0.0f, 0.0f);
    }
    fill_taps(block);
    syncthreads();
  }

 private:
  template <bool kBackward>
  __device__ __forceinline__ void fill_row(const ImplicitGemmBlock<kTile, kBackward>& block, int of_tile) const {
    const long long row = block.first_row + of_tile;
    rows[of_tile] = make_int4(-1, 0, 0, 0);
    results[of_tile] = -1;
    if (row >= block.rows()) return;
    const long long image = row / block.positions;
    int position = static_cast<int>(row % block.positions);
    int index[3];
#pragma unroll
    for (int axis = 2; axis >= 0; --axis) {
      index[axis] = position % block.phases[axis].positions;
      position /= block.phases[axis].positions;
    }
    long long result = block.weight * block.problem.gather.images + image;
#pragma unroll
    for (int axis = 0; axis < 3; ++axis) {
      const AxisPhase& phase = block.phases[axis];
      result = result * block.result_size(axis) + phase.result_first + index[axis] * phase.result_step;
      index[axis] = phase.source_first + index[axis] * phase.source_step;
    }
    rows[of_tile] = make_int4(static_cast<int>(image), index[0], index[1], index[2]);
    results[of_tile] = result;
  }

  template <bool kBackward>
  __device__ __forceinline__ void fill_taps(const ImplicitGemmBlock<kTile, kBackward>& block) const {
    for (int number = static_cast<int>(threadIdx.x); number < block.taps; number += static_cast<int>(blockDim.x)) {
      int index[3], rest = number, tap = 0;
#pragma unroll
      for (int axis = 2; axis >= 0; --axis) {
        index[axis] = rest % block.phases[axis].taps;
        rest /= block.phases[axis].taps;
      }
#pragma unroll
      for (int axis = 0; axis < 3; ++axis) {
        const AxisPhase& phase = block.phases[axis];
        tap = tap * block.problem.gather.axes[axis].kernel + phase.tap_first + index[axis] * phase.tap_stride;
        index[axis] *= phase.tap_step;
      }
      taps[number] = make_int4(index[0], index[1], index[2], tap);
    }
  }
};

}  // namespace kw::cuda::device
