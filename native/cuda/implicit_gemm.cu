// Convolution passes as products of tiles.
#include "cuda/kernels/implicit_gemm.cuh"

#include "cuda/convolution_methods.h"
#include "cuda/grid.h"
#include "cuda/kernels/weight_gradient.cuh"
#include "cuda/launch.h"

namespace kw::cuda {

namespace {

using device::Bfloat16Product;
using device::FloatProduct;
using device::Tf32Product;

constexpr int kSmallTile = 64, kLargeTile = 128;

int64_t tiles_of(int64_t rows, int64_t columns, int64_t tile) { return whole_parts(rows, tile) * whole_parts(columns, tile); }

template <class Product, int kTile, int kVector, bool kBackward>
void start_gather(const Device& gpu, const device::ImplicitGemmProblem& problem) {
  using T = typename Product::Element;
  const device::GatherProblem& gather = problem.gather;
  const int64_t blocks = problem.column_tiles * problem.row_tiles * gather.groups * problem.phases * gather.weights;
  launch(device::implicit_gemm<Product, kTile, kVector, kBackward>, row_of_blocks(blocks), device::TileSizes<T, kTile>::kThreads,
         device::implicit_gemm_bytes<T, kTile>(gather.taps), gpu.stream, problem);
}

template <class Product, int kTile, int kVector>
void start_gather(const Device& gpu, const device::ImplicitGemmProblem& problem, bool backward) {
  backward ? start_gather<Product, kTile, kVector, true>(gpu, problem) : start_gather<Product, kTile, kVector, false>(gpu, problem);
}

template <class Product, int kTile, int kVector>
void start_gradient(const Device& gpu, const device::WeightGradientGemmProblem& problem) {
  using Sizes = device::TileSizes<typename Product::Element, kTile>;
  const device::WeightGradientProblem& gradient = problem.gradient;
  const int64_t blocks = int64_t{problem.row_tiles} * problem.column_tiles * gradient.groups * gradient.parts * gradient.weights;
  launch(device::weight_gradient_gemm<Product, kTile, kVector>, row_of_blocks(blocks), Sizes::kThreads, Sizes::kBytes, gpu.stream, problem);
}

// Of the largest phase.
int64_t phase_positions(const device::GatherProblem& problem, bool backward) {
  int64_t positions = 1;
  for (const device::ConvolutionAxis& axis : problem.axes) positions *= backward ? whole_parts(axis.in, axis.stride) : axis.out;
  return positions;
}

}  // namespace

bool takes_large_tiles(const Device& gpu, DataType type, int64_t rows, int64_t columns, int64_t times) {
  if (type != DataType::bfloat16) return false;
  const int64_t large = tiles_of(rows, columns, kLargeTile), small = tiles_of(rows, columns, kSmallTile);
  return large * times >= 2 * gpu.multiprocessors && 4 * large * 8 <= small * 9;
}

size_t tiled_means_bytes(const device::GatherProblem& problem, int64_t positions) {
  const int64_t tiles = whole_parts(positions, kSmallTile);
  const int64_t channels = int64_t{problem.groups} * problem.width;
  return tiles > 1 ? static_cast<size_t>(problem.weights * tiles * channels) * sizeof(float) : 0;
}

void gather_by_tiles(const Device& gpu, const device::GatherProblem& gather, DataType type, bool backward, bool large, float* means,
                     std::byte* scratch) {
  const int vector = 16 / static_cast<int>(element_bytes(type));
  const int64_t channels = int64_t{gather.groups} * gather.width;
  const int in_width = backward ? gather.width : gather.depth;
  // Rows of the weight are vectors of its input channels; those of the source, of its own.
  const bool vectors = in_width % vector == 0 && gather.depth % vector == 0 && is_aligned(gather.source) && is_aligned(gather.weight) &&
                       (gather.weights == 1 || gather.weight_stride % vector == 0);
  const int64_t tile = large && vectors ? kLargeTile : kSmallTile;
  device::ImplicitGemmProblem problem;
  problem.gather = gather;
  problem.by_depth = device::Divider(gather.depth);
  problem.row_tiles = whole_parts(gather.images * phase_positions(gather, backward), tile);
  problem.column_tiles = static_cast<int>(whole_parts(gather.width, tile));
  problem.phases = 1;
  for (const device::ConvolutionAxis& axis : gather.axes) problem.phases *= backward ? axis.stride : 1;
  problem.stores_vectors = gather.width % vector == 0 && is_aligned(gather.result) && is_aligned(gather.epilogue.residual);
  problem.means = means && problem.row_tiles > 1 ? reinterpret_cast<float*>(scratch) : means;
  if (type == DataType::bfloat16) {
    if (tile == kLargeTile) {
      start_gather<Bfloat16Product, kLargeTile, 8>(gpu, problem, backward);
    } else {
      vectors ? start_gather<Bfloat16Product, kSmallTile, 8>(gpu, problem, backward)
              : start_gather<Bfloat16Product, kSmallTile, 1>(gpu, problem, backward);
    }
  } else if (gpu.tf32) {
    vectors ? start_gather<Tf32Product, kSmallTile, 4>(gpu, problem, backward)
            : start_gather<Tf32Product, kSmallTile, 1>(gpu, problem, backward);
  } else {
    vectors ? start_gather<FloatProduct, kSmallTile, 4>(gpu, problem, backward)
            : start_gather<FloatProduct, kSmallTile, 1>(gpu, problem, backward);
  }
  if (means && problem.row_tiles > 1) {
    const int64_t count = gather.weights * channels;
    launch(device::sum_tile_means, row_of_blocks(whole_parts(count, kPassThreads)), kPassThreads, 0, gpu.stream, problem.means,
           problem.row_tiles, static_cast<int>(channels), count, means);
  }
}

void weight_gradient_by_tiles(const Device& gpu, const device::WeightGradientProblem& gradient, DataType type, bool large) {
  const int vector = 16 / static_cast<int>(element_bytes(type));
  const bool vectors =
      gradient.in_width % vector == 0 && gradient.out_width % vector == 0 && is_aligned(gradient.x) && is_aligned(gradient.dy);
  const int64_t tile = large && vectors ? kLargeTile : kSmallTile;
  const device::ConvolutionAxis* axes = gradient.axes;
  device::WeightGradientGemmProblem problem;
  problem.gradient = gradient;
  problem.by_channels = device::Divider(gradient.in_width);
  problem.by_positions = device::Divider(axes[0].out * axes[1].out * axes[2].out);
  problem.by_area = device::Divider(axes[1].out * axes[2].out);
  problem.by_width = device::Divider(axes[2].out);
  problem.row_tiles = static_cast<int>(whole_parts(gradient.out_width, tile));
  problem.column_tiles = static_cast<int>(whole_parts(int64_t{gradient.taps} * gradient.in_width, tile));
  if (type == DataType::bfloat16) {
    if (tile == kLargeTile) {
      start_gradient<Bfloat16Product, kLargeTile, 8>(gpu, problem);
    } else {
      vectors ? start_gradient<Bfloat16Product, kSmallTile, 8>(gpu, problem) : start_gradient<Bfloat16Product, kSmallTile, 1>(gpu, problem);
    }
  } else if (gpu.tf32) {
    vectors ? start_gradient<Tf32Product, kSmallTile, 4>(gpu, problem) : start_gradient<Tf32Product, kSmallTile, 1>(gpu, problem);
  } else {
    vectors ? start_gradient<FloatProduct, kSmallTile, 4>(gpu, problem) : start_gradient<FloatProduct, kSmallTile, 1>(gpu, problem);
  }
}

}  // namespace kw::cuda
