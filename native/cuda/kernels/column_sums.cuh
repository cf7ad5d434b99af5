// Sums over the rows of a [rows, channels] matrix, two for each channel. A block takes a range of rows of some channels; its threads stand
// side by side along the channels and, where these are few, in several rows. Short runs of rows are added in float, runs in double,
// everything in an order that depends on the shape alone.
#pragma once

#include "cuda/kernels/pack.cuh"

namespace kw::cuda::device {

constexpr int kColumnThreads = 256;  // threads of a block
constexpr int kColumnBlocks = 2;     // on a multiprocessor at the same time, at least
constexpr int kMostLanes = 32;       // of them, side by side
constexpr int kRunRows = 32;         // of one thread, added in float

/** A matrix and how many threads of a block stand along its channels: a power of two, at most kMostLanes. */
struct Columns {
  long long rows;
  int channels;
  int lanes;
};

/** Where a thread stands: its first of kCount channels, and its first row, from which it goes on by `step`. blockIdx.x counts the groups of
 * lanes. */
template <int kCount>
struct ColumnThread {
  int lane, row, step, channel;
  bool active;  // there are such channels

  __device__ __forceinline__ explicit ColumnThread(const Columns& columns)
      : lane(static_cast<int>(threadIdx.x) % columns.lanes),
        row(static_cast<int>(threadIdx.x) / columns.lanes),
        step(kColumnThreads / columns.lanes),
        channel((static_cast<int>(blockIdx.x) * columns.lanes + lane) * kCount),
        active(channel < columns.channels) {}

  /** How many of the rows first + row, first + row + step, ... lie before `last`; 0 for a thread without channels. */
  __device__ __forceinline__ int rows_between(long long first, long long last) const {
    const long long rest = last - first - row;
    return active && rest > 0 ? static_cast<int>((rest + step - 1) / step) : 0;
  }
};

/** The first row of split `split` of `splits`. */
__device__ __forceinline__ long long split_begin(long long rows, unsigned split, unsigned splits) { return rows * split / splits; }

/** Adds the threads' sums of each channel; gives every thread those of its channels. All threads of the block take part. */
template <int kCount>
__device__ __forceinline__ void add_over_threads(double (&sums)[2][kCount], const ColumnThread<kCount>& thread) {
  double* shared = shared_array<struct ColumnSums, double, 2 * kCount * kColumnThreads>();
  double* own = shared + threadIdx.x;
#pragma unroll
  for (int i = 0; i < 2 * kCount; ++i) own[i * kColumnThreads] = sums[i / kCount][i % kCount];
  const int lanes = kColumnThreads / thread.step;
  for (int half = thread.step / 2; half > 0; half /= 2) {
    syncthreads();
    if (thread.row < half) {
#pragma unroll
      for (int i = 0; i < 2 * kCount; ++i) own[i * kColumnThreads] += own[i * kColumnThreads + half * lanes];
    }
  }
  syncthreads();
#pragma unroll
  for (int i = 0; i < 2 * kCount; ++i) sums[i / kCount][i % kCount] = shared[i * kColumnThreads + thread.lane];
  syncthreads();
}

/** Stores a block's sums over its split of the rows into partials [gridDim.y, 2, channels]. */
template <int kCount>
__device__ __forceinline__ void store_partials(const double (&sums)[2][kCount], const ColumnThread<kCount>& thread, int channels,
                                               double* partials) {
  if (thread.row > 0 || !thread.active) return;
  double* own = partials + static_cast<long long>(blockIdx.y) * 2 * channels + thread.channel;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    own[i] = sums[0][i];
    own[channels + i] = sums[1][i];
  }
}

/** The sums over all splits, for every thread those of its channel. */
__device__ __forceinline__ void add_partials(const double* partials, const Columns& columns, const ColumnThread<1>& thread,
                                             double (&sums)[2][1]) {
  const int count = thread.rows_between(0, columns.rows);
  const double* partial = partials + static_cast<long long>(thread.row) * 2 * columns.channels + thread.channel;
#pragma unroll 4
  for (int i = 0; i < count; ++i, partial += static_cast<long long>(thread.step) * 2 * columns.channels) {
    sums[0][0] += partial[0];
    sums[1][0] += partial[columns.channels];
  }
  add_over_threads(sums, thread);
}

}  // namespace kw::cuda::device
