// Convolution as an implicit GEMM: y from x, and dx from dy. Rows of the product are positions of the result, columns its channels, and K
// runs over taps and the source's channels. A is never stored: its rows are gathered from the source on the way to shared memory.
#pragma once

#include "cuda/kernels/gemm.cuh"
#include "cuda/kernels/implicit_gemm_block.cuh"

namespace kw::cuda::device {

/** B is [channels of the result][K] in memory forward, and the other way around backward. */
template <class Math, int kTile, bool kBackward>
using ImplicitGemm = Gemm<GemmTile<Math, kTile>, Major::k, kBackward ? Major::mn : Major::k>;

/** Gathers A from the source, and reads B from the weight, kVector elements at a time. */
template <class Gemm, int kVector, bool kBackward>
struct ImplicitGemmLoader {
  using T = typename Gemm::Element;
  using TileA = typename Gemm::TileA;
  using TileB = typename Gemm::TileB;
  static constexpr int kTile = Gemm::Shape::kTile, kThreads = Gemm::Shape::kThreads;
  using Block = ImplicitGemmBlock<kTile, kBackward>;

  const Block& block;
  const ImplicitGemmTables<kTile>& tables;
  long long image_elements;
  const T* source;  // of the block's group and weight
  const T* weight;

  __device__ __forceinline__ ImplicitGemmLoader(const Block& of, const ImplicitGemmTables<kTile>& with) : block(of), tables(with) {
    const GatherProblem& p = block.problem.gather;
    image_elements = static_cast<long long>(block.phases[0].source) * block.phases[1].source * block.phases[2].source * p.source_channels();
    source = static_cast<const T*>(p.source) + block.weight * p.images * image_elements + block.group * p.depth;
    weight =
        static_cast<const T*>(p.weight) + block.weight * p.weight_stride + static_cast<long long>(block.group) * p.width * p.taps * p.depth;
  }

  __device__ __forceinline__ void load(int k_tile, TileA a, TileB b) const {
    const int first_k = k_tile * TileA::kDepth;
    load_source(first_k, a);
    if constexpr (kBackward) {
      load_weight_mn_major(first_k, b);
    } else {
      load_weight_k_major(first_k, b);
    }
  }

 private:
  static constexpr int kLineVectors = TileA::kDepth / kVector;  // of K
  static constexpr int kLineStep = kThreads / kLineVectors;

  /** A thread has the same tap and channels of all the rows that it copies. */
  __device__ __forceinline__ void load_source(int first_k, TileA a) const {
    const GatherProblem& p = block.problem.gather;
    const int thread = static_cast<int>(threadIdx.x), of_tile = thread % kLineVectors * kVector, k = first_k + of_tile;
    const bool within = k < block.depth;
    const int number = within ? block.problem.by_depth(k) : 0;
    const int channel = k - number * p.depth;
    const SourceTap tap = tables.taps[number];
    const int depth = block.phases[0].source, height = block.phases[1].source, width = block.phases[2].source;
#pragma unroll
    for (int i = 0; i < kTile / kLineStep; ++i) {
      const int row = thread / kLineVectors + i * kLineStep;
      const SourceRow window = tables.rows[row];
      const int d = window.y + tap.x, h = window.z + tap.y, w = window.w + tap.z;
      const bool valid = within && window.x >= 0 && is_inside(d, depth) && is_inside(h, height) && is_inside(w, width);
      const long long position = (static_cast<long long>(d) * height + h) * width + w;
      const long long offset = window.x * image_elements + position * p.source_channels() + channel;
      copy_elements<kVector>(a.at(row, of_tile), valid ? source + offset : source, valid);
    }
  }

  __device__ __forceinline__ void load_weight_k_major(int first_k, TileB b) const {
    const int thread = static_cast<int>(threadIdx.x), of_tile = thread % kLineVectors * kVector, k = first_k + of_tile;
#pragma unroll
    for (int i = 0; i < kTile / kLineStep; ++i) {
      const int column = thread / kLineVectors + i * kLineStep;
      const bool valid = k < block.depth && block.first_column + column < block.problem.gather.width;
      const long long offset = static_cast<long long>(block.first_column + column) * block.depth + k;
      copy_elements<kVector>(b.at(column, of_tile), valid ? weight + offset : weight, valid);
    }
  }

  __device__ __forceinline__ void load_weight_mn_major(int first_k, TileB b) const {
    constexpr int kRowVectors = kTile / kVector, kRowStep = kThreads / kRowVectors;
    const GatherProblem& p = block.problem.gather;
    const int thread = static_cast<int>(threadIdx.x), of_tile = thread % kRowVectors * kVector, column = block.first_column + of_tile;
#pragma unroll
    for (int i = 0; i < TileB::kDepth / kRowStep; ++i) {
      const int row = thread / kRowVectors + i * kRowStep, k = first_k + row;
      const bool valid = k < block.depth && column < p.width;
      const int number = valid ? block.problem.by_depth(k) : 0;
      const int out_channel = k - number * p.depth;
      const long long offset = (static_cast<long long>(out_channel) * p.taps + tables.taps[number].w) * p.width + column;
      copy_elements<kVector>(b.at(of_tile, row), valid ? weight + offset : weight, valid);
    }
  }

  static __device__ __forceinline__ bool is_inside(int index, int size) {
    return static_cast<unsigned>(index) < static_cast<unsigned>(size);
  }
};

/** What becomes of the finished block tile. */
template <class Gemm, bool kBackward>
struct ImplicitGemmEpilogue {
  using T = typename Gemm::Element;
  using Tile = typename Gemm::ResultTile;
  static constexpr int kTile = Gemm::Shape::kTile, kThreads = Gemm::Shape::kThreads;
  const ImplicitGemmBlock<kTile, kBackward>& block;
  const ImplicitGemmTables<kTile>& tables;

  __device__ __forceinline__ void operator()(Tile tile) const {
    if (block.problem.split_sums) {
      store_split_sums(tile);
      return;
    }
    block.problem.stores_vectors ? store_vectors(tile) : store_elements(tile);
    if constexpr (!kBackward) {
      if (block.problem.means) store_means(tile);
    }
  }

 private:
  /** Calls visit(row, column) for each run of kWidth channels that exist in the result. */
  template <int kWidth, class Visit>
  __device__ __forceinline__ void for_each(const Visit& visit) const {
    const int columns = block.columns();
    for (int item = static_cast<int>(threadIdx.x); item < kTile * kTile / kWidth; item += kThreads) {
      const int row = item / (kTile / kWidth), column = item % (kTile / kWidth) * kWidth;
      if (tables.results[row] >= 0 && column < columns) visit(row, column);
    }
  }
  __device__ __forceinline__ long long offset(int row, int column) const {
    return tables.results[row] * block.problem.gather.result_channels() + block.first_channel() + column;
  }

  __device__ __forceinline__ void store_split_sums(Tile tile) const {
    const GatherProblem& p = block.problem.gather;
    const long long count = p.weights * p.images * block.result_size(0) * block.result_size(1) * block.result_size(2) * p.result_channels();
    for_each<1>([&](int row, int column) { block.problem.split_sums[block.split * count + offset(row, column)] = *tile.at(row, column); });
  }

  __device__ __forceinline__ void store_vectors(Tile tile) const {
    using Vector = ChannelVector<T>;
    const ConvolutionEpilogue& epilogue = block.problem.gather.epilogue;
    T* result = static_cast<T*>(block.problem.gather.result);
    for_each<Vector::kSize>([&](int row, int column) {
      float* sums = tile.at(row, column);
      Vector values, residual;
      residual.clear();
      if (epilogue.residual) residual.load(static_cast<const T*>(epilogue.residual) + offset(row, column));
#pragma unroll
      for (int c = 0; c < Vector::kSize; ++c) {
        const float2 channel = tables.channels[column + c];
        values.value[c] = epilogue.limited(sums[c] * channel.x + channel.y + residual.value[c]);
        if (block.problem.means) sums[c] = as_stored<T>(values.value[c]);
      }
      values.store(result + offset(row, column));
    });
  }

  __device__ __forceinline__ void store_elements(Tile tile) const {
    const GatherProblem& p = block.problem.gather;
    for_each<1>([&](int row, int column) {
      float* sum = tile.at(row, column);
      const float value = p.epilogue.finish<T>(*sum, tables.channels[column], offset(row, column));
      if (block.problem.means) *sum = as_stored<T>(value);
      store_as(static_cast<T*>(p.result) + offset(row, column), value);
    });
  }

  /** Of what was stored, which is in the tile now: a thread has a column. */
  __device__ __forceinline__ void store_means(Tile tile) const {
    const int column = static_cast<int>(threadIdx.x);
    syncthreads();
    if (column >= block.columns()) return;
    float sum = 0.0f;
    for (int row = 0; row < kTile && tables.results[row] >= 0; ++row) sum += *tile.at(row, column);
    const long long share = block.weight * block.problem.row_tiles + block.row_tile;
    block.problem.means[share * block.problem.gather.result_channels() + block.first_channel() + column] =
        sum / static_cast<float>(block.positions);
  }
};

/** Bytes of shared memory for a kernel of `taps` taps. */
template <class Math, int kTile, bool kBackward>
constexpr int implicit_gemm_bytes(int taps) {
  return ImplicitGemm<Math, kTile, kBackward>::kSharedBytes + ImplicitGemmTables<kTile>::bytes(taps);
}

/** kVector: as many elements as 16 bytes have, or 1, which takes any number of channels and any address. */
template <class Math, int kTile, int kVector, bool kBackward>
__global__ void __launch_bounds__(GemmTile<Math, kTile>::kThreads) implicit_gemm(ImplicitGemmProblem problem) {
  using Gemm = ImplicitGemm<Math, kTile, kBackward>;
  const ImplicitGemmBlock<kTile, kBackward> block(problem);
  if (block.is_empty()) return;
  const ImplicitGemmTables<kTile> tables(dynamic_shared() + Gemm::kSharedBytes, problem.gather.taps);
  tables.fill(block);
  const int k_tiles = ceil_divide(block.depth, Gemm::Shape::kDepth), first = block.split * problem.split_k_tiles;
  const ImplicitGemmLoader<Gemm, kVector, kBackward> loader(block, tables);
  const auto tile = multiply_tiles<Gemm>(loader, first, min(k_tiles, first + problem.split_k_tiles));
  ImplicitGemmEpilogue<Gemm, kBackward>{block, tables}(tile);
}

/** Finishes split-K: y or dx, `count` elements, of the splits' sums [splits,count], added in order. */
template <class T>
__global__ void finish_splits(GatherProblem p, const float* sums, int splits, long long count) {
  const long long threads = static_cast<long long>(gridDim.x) * blockDim.x;
  for (long long element = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; element < count; element += threads) {
    float sum = 0.0f;
    for (int split = 0; split < splits; ++split) sum += sums[split * count + element];
    const int channel = static_cast<int>(element % p.result_channels());
    store_as(static_cast<T*>(p.result) + element, p.epilogue.finish<T>(sum, p.epilogue.channel(channel), element));
  }
}

}  // namespace kw::cuda::device
