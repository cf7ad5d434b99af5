// Sums of terms over some axes of a tensor. Two forms: where the innermost axis is kept, neighbouring threads have neighbouring sums; where
// it is summed, the threads of a block share one sum. Either way a thread adds a few terms in a short run and runs in double, and the terms
// may be split among blocks whose partial sums a second kernel adds: the order of all additions depends on shape and alignment only.
#pragma once

#include "cuda/kernels/axes.cuh"
#include "cuda/kernels/pack.cuh"

namespace kw::cuda::device {

constexpr int kSumThreads = 256;
constexpr int kRunTerms = 8;

// What is summed: terms as functions of the position in the tensor.
template <class T>
struct Values {
  using Number = float;  // of a run
  using Element = T;
  const T* x;

  template <int kCount>
  __device__ __forceinline__ Pack<float, kCount> load(long long offset) const {
    return load_pack<kCount>(x + offset);
  }
};

template <class T>
struct Products {
  using Number = float;
  using Element = T;
  const T *a, *b;

  template <int kCount>
  __device__ __forceinline__ Pack<float, kCount> load(long long offset) const {
    auto products = load_pack<kCount>(a + offset);
    const auto others = load_pack<kCount>(b + offset);
#pragma unroll
    for (int k = 0; k < kCount; ++k) products[k] *= others[k];
    return products;
  }
};

// In double, which has room for the square of any float.
struct Squares {
  using Number = double;
  using Element = float;
  const float* x;

  template <int kCount>
  __device__ __forceinline__ Pack<double, kCount> load(long long offset) const {
    const auto values = load_pack<kCount>(x + offset);
    Pack<double, kCount> squares;
#pragma unroll
    for (int k = 0; k < kCount; ++k) squares[k] = static_cast<double>(values[k]) * values[k];
    return squares;
  }
};

struct SumShape {
  Axes kept;  // but for the columns
  Axes summed;
  long long rows;     // places of the kept axes
  long long terms;    // places of the summed axes
  long long columns;  // of the innermost axis where it is kept, else 1
  int splits;         // of the terms, each summed by blocks of its own
};

__host__ __device__ __forceinline__ long long split_begin(long long count, int split, int splits) {
  return count / splits * split + min<long long>(split, count % splits);
}

// Where sums go: divided and rounded, or, where there are several splits, to be finished.
struct SumOutput {
  float* sums;       // [rows, columns]
  double* partials;  // [rows, columns, splits]
  double divisor;

  __device__ __forceinline__ void store(long long sum, int split, int splits, double total) const {
    if (splits == 1) {
      sums[sum] = static_cast<float>(total / divisor);
    } else {
      partials[sum * splits + split] = total;
    }
  }
};

// The terms of one row that are in one split.
struct TermRange {
  long long start;  // of the row in the tensor
  long long first, end;
  long long stride;  // from one of a thread's terms to the next
  int places;        // of the summed axes that a term takes
};

template <int kCount, class Number>
__device__ __forceinline__ void add_pack(Number (&sums)[kCount], const Pack<Number, kCount>& values) {
#pragma unroll
  for (int k = 0; k < kCount; ++k) sums[k] += values[k];
}

template <int kCount, class Terms>
__device__ __forceinline__ void add_terms(const Terms& terms, const Axes& summed, TermRange range, double (&totals)[kCount]) {
  const long long step = range.places * summed.strides[0];
  for (long long first = range.first; first < range.end; first += kRunTerms * range.stride) {
    typename Terms::Number run[kCount] = {};
    if (summed.count == 1 && first + (kRunTerms - 1) * range.stride < range.end) {
      // Without questions in between, so that all loads are on their way at once.
#pragma unroll
      for (int term = 0; term < kRunTerms; ++term)
        add_pack(run, terms.template load<kCount>(range.start + (first + term * range.stride) * step));
    } else {
      const long long end = min(range.end, first + kRunTerms * range.stride);
#pragma unroll 1
      for (long long term = first; term < end; term += range.stride)
        add_pack(run, terms.template load<kCount>(range.start + summed.offset(term * range.places)));
    }
#pragma unroll
    for (int k = 0; k < kCount; ++k) totals[k] += run[k];
  }
}

// The innermost axis is kept. A block does one split of the terms of `lanes` packs of columns, which a line of threads has side by side.
// Grid: for each row, each split, a block for every `lanes` packs.
template <class Terms, int kCount>
__global__ void __launch_bounds__(kSumThreads, 2) sum_columns(Terms terms, SumShape shape, int lanes, SumOutput output) {
  const int lane = static_cast<int>(threadIdx.x) % lanes, line = static_cast<int>(threadIdx.x) / lanes;
  const int lines = kSumThreads / lanes, width = lanes * kCount;
  const long long tiles = ceil_divide<long long>(shape.columns, width), blocks_of_row = tiles * shape.splits;
  const long long row = blockIdx.x / blocks_of_row, within = blockIdx.x - row * blocks_of_row;
  const int split = static_cast<int>(within / tiles);
  const long long first_column = within % tiles * width, column = first_column + lane * kCount;
  double totals[kCount] = {};
  if (column < shape.columns) {
    const long long first = split_begin(shape.terms, split, shape.splits) + line;
    add_terms(terms, shape.summed, {shape.kept.offset(row) + column, first, split_begin(shape.terms, split + 1, shape.splits), lines, 1},
              totals);
  }
  double* line_totals = shared_array<struct LineTotals, double, kSumThreads * kCount>();  // [lines, width]
#pragma unroll
  for (int k = 0; k < kCount; ++k) line_totals[line * width + lane * kCount + k] = totals[k];
  syncthreads();
  for (int k = static_cast<int>(threadIdx.x); k < width && first_column + k < shape.columns; k += kSumThreads) {
    double total = 0;
    for (int i = 0; i < lines; ++i) total += line_totals[i * width + k];
    output.store(row * shape.columns + first_column + k, split, shape.splits, total);
  }
}

// The innermost axis is summed; packs are for multiples of kCount along it. Grid: for each row, each split, a block of any multiple of 32
// threads.
template <class Terms, int kCount>
__global__ void __launch_bounds__(kSumThreads, 2) sum_rows(Terms terms, SumShape shape, SumOutput output) {
  const long long row = blockIdx.x / shape.splits, packs = shape.terms / kCount;
  const int split = static_cast<int>(blockIdx.x % shape.splits);
  double totals[kCount] = {};
  const long long first = split_begin(packs, split, shape.splits) + threadIdx.x;
  add_terms(terms, shape.summed, {shape.kept.offset(row), first, split_begin(packs, split + 1, shape.splits), blockDim.x, kCount}, totals);
  double total = totals[0];
#pragma unroll
  for (int k = 1; k < kCount; ++k) total += totals[k];
  total = block_sum(total);
  if (threadIdx.x == 0) output.store(row, split, shape.splits, total);
}

// A warp adds the partial sums of one sum.
template <class Output>
__global__ void finish_sums(Output output, long long sums, int splits) {
  const long long sum = (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) / kWarpSize;
  if (sum >= sums) return;
  double total = 0;
  for (int split = static_cast<int>(threadIdx.x) % kWarpSize; split < splits; split += kWarpSize)
    total += output.partials[sum * splits + split];
  total = warp_sum(total);
  if (threadIdx.x % kWarpSize == 0) output.store(sum, 0, 1, total);
}

}  // namespace kw::cuda::device
