// Convolution passes as products of tiles.
#include "cuda/kernels/implicit_gemm.cuh"

#include <algorithm>

#include "cuda/convolution/convolution_methods.h"
#include "cuda/element.h"
#include "cuda/grid.h"
#include "cuda/kernels/weight_gradient.cuh"
#include "cuda/launch.h"

namespace kw::cuda {

namespace {

using device::Bfloat16Mma;
using device::FloatFma;
using device::Tf32Mma;

constexpr int kSmallTile = 64, kLargeTile = 128;
constexpr int64_t kMostTaps = 1 << 20;  // far more than there is ever room for
constexpr int kStepBytes = 64;          // of depth
constexpr int kLeastPartSteps = 8;      // of a part; fewer are over before they are worth a sum more

int64_t tiles_of(int64_t rows, int64_t columns, int64_t tile) { return whole_parts(rows, tile) * whole_parts(columns, tile); }

template <class Math, int kTile, int kVector, bool kBackward>
void start_gather(const Device& gpu, const device::ImplicitGemmProblem& problem) {
  const device::GatherProblem& gather = problem.gather;
  const int64_t blocks = problem.column_tiles * problem.row_tiles * gather.groups * problem.phases * problem.splits * gather.weights;
  launch(device::implicit_gemm<Math, kTile, kVector, kBackward>, row_of_blocks(blocks), device::GemmTile<Math, kTile>::kThreads,
         device::implicit_gemm_bytes<Math, kTile, kBackward>(gather.taps), gpu.stream, problem);
}

template <class Math, int kTile, int kVector>
void start_gather(const Device& gpu, const device::ImplicitGemmProblem& problem, bool backward) {
  backward ? start_gather<Math, kTile, kVector, true>(gpu, problem) : start_gather<Math, kTile, kVector, false>(gpu, problem);
}

template <class Math, int kTile, int kVector>
void start_gradient(const Device& gpu, const device::WeightGradientGemmProblem& problem) {
  const device::WeightGradientProblem& gradient = problem.gradient;
  const int64_t blocks = int64_t{problem.row_tiles} * problem.column_tiles * gradient.groups * gradient.splits * gradient.weights;
  launch(device::weight_gradient_gemm<Math, kTile, kVector>, row_of_blocks(blocks), device::GemmTile<Math, kTile>::kThreads,
         device::WeightGradientGemm<Math, kTile>::kSharedBytes, gpu.stream, problem);
}

// Of the largest phase.
int64_t phase_positions(const device::GatherProblem& problem, bool backward) {
  int64_t positions = 1;
  for (const device::ConvolutionAxis& axis : problem.axes) positions *= backward ? whole_parts(axis.in, axis.stride) : axis.out;
  return positions;
}

int phases_of(const device::GatherProblem& problem, bool backward) {
  return backward ? problem.axes[0].stride * problem.axes[1].stride * problem.axes[2].stride : 1;
}

int64_t tile_size(const TilePlan& plan) { return plan.large ? kLargeTile : kSmallTile; }

int64_t row_tiles(const device::GatherProblem& problem, bool backward, int64_t tile) {
  return whole_parts(problem.images * phase_positions(problem, backward), tile);
}

int64_t result_elements(const device::GatherProblem& problem, bool backward) {
  return problem.weights * problem.images * result_positions(problem, backward) * problem.groups * problem.width;
}

// Rows of the weight are vectors of its input channels; those of the source, of its own.
bool gathers_vectors(const device::GatherProblem& problem, bool backward, int vector) {
  const int in_width = backward ? problem.width : problem.depth;
  return in_width % vector == 0 && problem.depth % vector == 0 && is_aligned(problem.source) && is_aligned(problem.weight) &&
         (problem.weights == 1 || problem.weight_stride % vector == 0);
}

}  // namespace

bool has_room_for_taps(const Device& gpu, int64_t taps) {
  return taps <= kMostTaps &&
         device::implicit_gemm_bytes<Bfloat16Mma, kLargeTile, false>(static_cast<int>(taps)) <= static_cast<int64_t>(gpu.shared_memory);
}

bool takes_large_tiles(const Device& gpu, DataType type, int64_t rows, int64_t columns, int64_t times) {
  if (type != DataType::bfloat16) return false;
  const int64_t large = tiles_of(rows, columns, kLargeTile), small = tiles_of(rows, columns, kSmallTile);
  return large * times >= 2 * gpu.multiprocessors && 4 * large * 8 <= small * 9;
}

TilePlan plan_tiles(const Device& gpu, const device::GatherProblem& problem, DataType type, bool backward) {
  const int64_t phases = phases_of(problem, backward), times = phases * problem.groups * problem.weights;
  const int64_t rows = problem.images * phase_positions(problem, backward);
  if (takes_large_tiles(gpu, type, rows, problem.width, times)) return {.large = true};
  const int64_t blocks = tiles_of(rows, problem.width, kSmallTile) * times;
  const int64_t steps = whole_parts(int64_t{problem.taps} * problem.depth * element_bytes(type), kStepBytes * phases);
  if (blocks >= gpu.multiprocessors) return {};
  return {.parts = std::clamp<int64_t>(2 * gpu.multiprocessors / blocks, 1, std::max<int64_t>(1, steps / kLeastPartSteps))};
}

size_t tiled_scratch_bytes(const TilePlan& plan, const device::GatherProblem& problem, bool backward, bool gives_means) {
  if (plan.parts > 1) return static_cast<size_t>(plan.parts * result_elements(problem, backward)) * sizeof(float);
  const int64_t tiles = row_tiles(problem, backward, kSmallTile);  // of which there are never less than of the large ones
  return gives_means && tiles > 1 ? static_cast<size_t>(problem.weights * tiles * problem.groups * problem.width) * sizeof(float) : 0;
}

void gather_by_tiles(const Device& gpu, const TilePlan& plan, const device::GatherProblem& gather, DataType type, bool backward,
                     float* means, std::byte* scratch) {
  const int vector = 16 / static_cast<int>(element_bytes(type));
  const bool vectors = gathers_vectors(gather, backward, vector);
  const int64_t tile = vectors ? tile_size(plan) : kSmallTile;
  const int64_t channels = int64_t{gather.groups} * gather.width, positions = result_positions(gather, backward);
  const int64_t steps = whole_parts(int64_t{gather.taps} * gather.depth * element_bytes(type), kStepBytes);
  device::ImplicitGemmProblem problem;
  problem.gather = gather;
  problem.by_depth = device::Divider(gather.depth);
  problem.row_tiles = row_tiles(gather, backward, tile);
  problem.column_tiles = static_cast<int>(whole_parts(gather.width, tile));
  problem.phases = phases_of(gather, backward);
  problem.splits = static_cast<int>(plan.parts);
  problem.split_k_tiles = static_cast<int>(whole_parts(steps, plan.parts));
  problem.split_sums = plan.parts > 1 ? reinterpret_cast<float*>(scratch) : nullptr;
  problem.stores_vectors = gather.width % vector == 0 && is_aligned(gather.result) && is_aligned(gather.epilogue.residual);
  problem.means = means && problem.row_tiles > 1 ? reinterpret_cast<float*>(scratch) : means;
  if (type == DataType::bfloat16) {
    if (tile == kLargeTile) {
      start_gather<Bfloat16Mma, kLargeTile, 8>(gpu, problem, backward);
    } else {
      vectors ? start_gather<Bfloat16Mma, kSmallTile, 8>(gpu, problem, backward)
              : start_gather<Bfloat16Mma, kSmallTile, 1>(gpu, problem, backward);
    }
  } else if (gpu.tf32) {
    vectors ? start_gather<Tf32Mma, kSmallTile, 4>(gpu, problem, backward) : start_gather<Tf32Mma, kSmallTile, 1>(gpu, problem, backward);
  } else {
    vectors ? start_gather<FloatFma, kSmallTile, 4>(gpu, problem, backward) : start_gather<FloatFma, kSmallTile, 1>(gpu, problem, backward);
  }
  if (plan.parts > 1) {
    const int64_t count = result_elements(gather, backward);
    const auto finish = type == DataType::bfloat16 ? device::finish_splits<bfloat16> : device::finish_splits<float>;
    launch(finish, pass_grid(gpu, count), kPassThreads, 0, gpu.stream, gather, problem.split_sums, problem.splits, count);
    if (means) average_positions(gpu, type, gather.result, gather.weights, positions, channels, means);
  } else if (means && problem.row_tiles > 1) {
    sum_means(gpu, problem.means, gather.weights, problem.row_tiles, channels, means);
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
      start_gradient<Bfloat16Mma, kLargeTile, 8>(gpu, problem);
    } else {
      vectors ? start_gradient<Bfloat16Mma, kSmallTile, 8>(gpu, problem) : start_gradient<Bfloat16Mma, kSmallTile, 1>(gpu, problem);
    }
  } else if (gpu.tf32) {
    vectors ? start_gradient<Tf32Mma, kSmallTile, 4>(gpu, problem) : start_gradient<Tf32Mma, kSmallTile, 1>(gpu, problem);
  } else {
    vectors ? start_gradient<FloatFma, kSmallTile, 4>(gpu, problem) : start_gradient<FloatFma, kSmallTile, 1>(gpu, problem);
  }
}

}  // namespace kw::cuda
