// The gradient of a convolution's weight as a matrix product: rows are channels of y, columns taps and channels of x, K runs over
// positions, which are split (split-K) where there are too few block tiles to fill the GPU; the splits' sums are added in order.
#pragma once

#include "cuda/kernels/convolution_problem.cuh"
#include "cuda/kernels/gemm.cuh"

namespace kw::cuda::device {

struct WeightGradientGemmProblem {
  WeightGradientProblem gradient;
  Divider by_channels, by_positions, by_area, by_width;  // of in_width; of y's positions; of those without the first, the first two axes
  int row_tiles, column_tiles;
};

/** Writes one element of a weight gradient, or of a split's sums. */
__device__ __forceinline__ void store_weight_gradient(const WeightGradientProblem& p, long long weight, long long split, long long element,
                                                      float value) {
  const long long elements = static_cast<long long>(p.groups) * p.out_width * p.taps * p.in_width;
  if (p.splits > 1) {
    static_cast<float*>(p.result)[(split * p.weights + weight) * elements + element] = value;
  } else if (p.rounds) {
    static_cast<bfloat16*>(p.result)[weight * p.weight_stride + element] = to_bfloat16(value);
  } else {
    static_cast<float*>(p.result)[weight * p.weight_stride + element] = value;
  }
}

/** Both operands are [positions][channels] in memory, and K runs over the positions. */
template <class Math, int kTile>
using WeightGradientGemm = Gemm<GemmTile<Math, kTile>, Major::mn, Major::mn>;

/** The block tile that one block computes: of one group, one split of the positions and one weight. */
template <int kTile>
struct WeightGradientBlock {
  long long split, weight;
  int first_row, first_column, group;
  int columns;  // taps and channels of x in a group
  int positions;
  int first_position, end_position;

  __device__ __forceinline__ explicit WeightGradientBlock(const WeightGradientGemmProblem& problem) {
    const WeightGradientProblem& p = problem.gradient;
    long long block = blockIdx.x;
    const auto next = [&block](long long count) {
      const long long index = block % count;
      block /= count;
      return index;
    };
    first_row = static_cast<int>(next(problem.row_tiles)) * kTile;
    first_column = static_cast<int>(next(problem.column_tiles)) * kTile;
    group = static_cast<int>(next(p.groups));
    split = next(p.splits);
    weight = block;
    columns = p.taps * p.in_width;
    positions = p.axes[0].out * p.axes[1].out * p.axes[2].out;
    first_position = static_cast<int>(split * p.split_positions);
    end_position = static_cast<int>(min(p.images * positions, (split + 1) * p.split_positions));
  }
};

/** Reads A from dy, and gathers B from x, kVector channels at a time. A thread copies the same columns of every k-tile. */
template <class Gemm, int kVector>
struct WeightGradientLoader {
  using T = typename Gemm::Element;
  using TileA = typename Gemm::TileA;
  using TileB = typename Gemm::TileB;
  static constexpr int kTile = Gemm::Shape::kTile, kThreads = Gemm::Shape::kThreads;
  using Block = WeightGradientBlock<kTile>;

  const WeightGradientGemmProblem& problem;
  const Block& block;
  long long image_elements;
  const T* x;  // of the block's group and weight
  const T* dy;
  int of_tile;  // this thread's first column of the tiles
  bool copies_rows, copies_columns;
  int channel;    // of x, for this thread's column
  int offset[3];  // from a window's beginning to its tap

  __device__ __forceinline__ WeightGradientLoader(const WeightGradientGemmProblem& of, const Block& at) : problem(of), block(at) {
    const WeightGradientProblem& p = problem.gradient;
    image_elements = static_cast<long long>(p.axes[0].in) * p.axes[1].in * p.axes[2].in * in_channels();
    x = static_cast<const T*>(p.x) + block.weight * p.images * image_elements + block.group * p.in_width;
    dy = static_cast<const T*>(p.dy) + block.weight * p.images * block.positions * out_channels() + block.group * p.out_width;
    of_tile = static_cast<int>(threadIdx.x) % kVectors * kVector;
    const int column = block.first_column + of_tile;
    copies_rows = block.first_row + of_tile < p.out_width;
    copies_columns = column < block.columns;
    int tap = copies_columns ? problem.by_channels(column) : 0;
    channel = column - tap * p.in_width;
#pragma unroll
    for (int axis = 2; axis >= 0; --axis) {
      offset[axis] = tap % p.axes[axis].kernel * p.axes[axis].dilation - p.axes[axis].padding;
      tap /= p.axes[axis].kernel;
    }
  }

  __device__ __forceinline__ void load(int k_tile, TileA a, TileB b) const {
    const T* dy_rows = dy + block.first_row + of_tile;
#pragma unroll
    for (int i = 0; i < TileA::kDepth / kLineStep; ++i) {
      const int line = static_cast<int>(threadIdx.x) / kVectors + i * kLineStep;
      const int position = block.first_position + k_tile * TileA::kDepth + line;
      const bool within = position < block.end_position, copies_dy = within && copies_rows;
      copy_elements<kVector>(a.at(of_tile, line), copies_dy ? dy_rows + static_cast<long long>(position) * out_channels() : dy, copies_dy);
      copy_x(b.at(of_tile, line), position, within);
    }
  }

 private:
  static constexpr int kVectors = kTile / kVector;  // of a line
  static constexpr int kLineStep = kThreads / kVectors;

  __device__ __forceinline__ int in_channels() const { return problem.gradient.groups * problem.gradient.in_width; }
  __device__ __forceinline__ int out_channels() const { return problem.gradient.groups * problem.gradient.out_width; }

  __device__ __forceinline__ void copy_x(T* to, int position, bool within) const {
    const ConvolutionAxis(&axes)[3] = problem.gradient.axes;
    const int image = problem.by_positions(within ? position : 0);
    int rest = position - image * block.positions;
    const int out_d = problem.by_area(within ? rest : 0);
    rest -= out_d * axes[1].out * axes[2].out;
    const int out_h = problem.by_width(within ? rest : 0);
    const int out_w = rest - out_h * axes[2].out;
    const int d = out_d * axes[0].stride + offset[0], h = out_h * axes[1].stride + offset[1], w = out_w * axes[2].stride + offset[2];
    const bool copies = within && copies_columns && static_cast<unsigned>(d) < static_cast<unsigned>(axes[0].in) &&
                        static_cast<unsigned>(h) < static_cast<unsigned>(axes[1].in) &&
                        static_cast<unsigned>(w) < static_cast<unsigned>(axes[2].in);
    const long long x_position = (static_cast<long long>(d) * axes[1].in + h) * axes[2].in + w;
    copy_elements<kVector>(to, copies ? x + image * image_elements + x_position * in_channels() + channel : x, copies);
  }
};

/** One block computes kTile channels of y by kTile columns over one split of the positions. kVector as for implicit_gemm. */
template <class Math, int kTile, int kVector>
__global__ void __launch_bounds__(GemmTile<Math, kTile>::kThreads) weight_gradient_gemm(WeightGradientGemmProblem problem) {
  using Gemm = WeightGradientGemm<Math, kTile>;
  const WeightGradientProblem& p = problem.gradient;
  const WeightGradientBlock<kTile> block(problem);
  const int k_tiles = ceil_divide(max(0, block.end_position - block.first_position), Gemm::Shape::kDepth);
  const auto tile = multiply_tiles<Gemm>(WeightGradientLoader<Gemm, kVector>(problem, block), 0, k_tiles);
  for (int item = static_cast<int>(threadIdx.x); item < kTile * kTile; item += Gemm::Shape::kThreads) {
    const int row = item / kTile, column = item % kTile;
    if (block.first_row + row >= p.out_width || block.first_column + column >= block.columns) continue;
    const long long out_channel = static_cast<long long>(block.group) * p.out_width + block.first_row + row;
    store_weight_gradient(p, block.weight, block.split, out_channel * block.columns + block.first_column + column, *tile.at(row, column));
  }
}

/** dweight [weights, each `elements`, `stride` apart] = the sum of the splits' [splits,weights,elements], in order; T float or bfloat16. */
template <class T>
__global__ void sum_weight_gradient_splits(const float* sums, int splits, long long count, long long elements, long long stride,
                                           T* dweight) {
  const long long threads = static_cast<long long>(gridDim.x) * blockDim.x;
  for (long long index = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; index < count; index += threads) {
    float sum = 0.0f;
    for (int split = 0; split < splits; ++split) sum += sums[split * count + index];
    store_as(dweight + index / elements * stride + index % elements, sum);
  }
}

}  // namespace kw::cuda::device
