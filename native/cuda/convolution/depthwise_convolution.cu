// Depth-wise convolution passes.
#include "cuda/kernels/depthwise_convolution.cuh"

#include <algorithm>

#include "cuda/convolution/convolution_methods.h"
#include "cuda/element.h"
#include "cuda/launch.h"

namespace kw::cuda {

namespace {

constexpr int kSharedBytes = 48 * 1024;

int vector_size(DataType type) { return 16 / static_cast<int>(element_bytes(type)); }

// How many vectors of channels a block has, of at most `most`: few enough blocks that are not full, and rows long enough for memory.
int block_vectors(int64_t channels, DataType type, int most) {
  const int64_t vectors = whole_parts(channels, vector_size(type));
  int best = static_cast<int>(std::min<int64_t>(vectors, most));
  for (int count = best; count >= std::min(4, best); --count) {
    if (whole_parts(vectors, count) * count < whole_parts(vectors, best) * best) best = count;
  }
  return best;
}

constexpr int kMostVectors = 16;

// 3, 5 or 7 for a plane and such a square kernel without dilation, else 0.
int square_kernel(const device::ConvolutionAxis (&axes)[3]) {
  const bool plane = axes[0].in == 1 && axes[0].out == 1 && axes[0].kernel == 1 && axes[0].padding == 0;
  const int kernel = axes[1].kernel;
  const bool square = axes[2].kernel == kernel && axes[1].stride == axes[2].stride && axes[1].dilation == 1 && axes[2].dilation == 1;
  return plane && square && (kernel == 3 || kernel == 5 || kernel == 7) ? kernel : 0;
}

// Of the kernels for strips, or 0.
int strip_kernel(const device::ConvolutionAxis (&axes)[3]) { return axes[1].stride == 1 ? square_kernel(axes) : 0; }

template <class Start>
void for_kernel(int kernel, const Start& start) {
  if (kernel == 3) start(std::integral_constant<int, 3>());
  if (kernel == 5) start(std::integral_constant<int, 5>());
  if (kernel == 7) start(std::integral_constant<int, 7>());
}

// All but the means.
device::DepthwiseProblem divide(const device::GatherProblem& problem, DataType type, bool backward) {
  device::DepthwiseProblem depthwise;
  depthwise.gather = problem;
  depthwise.block_vectors = block_vectors(problem.groups, type, kMostVectors);
  depthwise.channel_blocks = static_cast<int>(whole_parts(problem.groups, int64_t{depthwise.block_vectors} * vector_size(type)));
  depthwise.block_items = device::kDepthwiseThreads / depthwise.block_vectors;
  int64_t items = problem.images * result_positions(problem, backward);
  if (strip_kernel(problem.axes) > 0) {
    const int64_t row = backward ? problem.axes[2].in : problem.axes[2].out;
    items = items / row * whole_parts(row, device::kStrip);
  }
  depthwise.item_blocks = whole_parts(items, depthwise.block_items);
  depthwise.means = nullptr;
  return depthwise;
}

template <class T>
void gather(const Device& gpu, const device::GatherProblem& problem, DataType type, bool backward, float* means, std::byte* scratch) {
  device::DepthwiseProblem depthwise = divide(problem, type, backward);
  const bool shares = means && depthwise.item_blocks > 1;
  depthwise.means = shares ? reinterpret_cast<float*>(scratch) : means;
  const dim3 grid = row_of_blocks(problem.weights * depthwise.item_blocks * depthwise.channel_blocks);
  const size_t shared = device::depthwise_bytes<T>(problem.taps, depthwise.block_vectors, depthwise.block_items);
  if (const int kernel = strip_kernel(problem.axes); kernel > 0) {
    for_kernel(kernel, [&](auto size) {
      launch(device::depthwise_strips<T, size>, grid, device::kDepthwiseThreads, shared, gpu.stream, depthwise, backward);
    });
  } else {
    const auto function = backward ? device::depthwise_convolution<T, true> : device::depthwise_convolution<T, false>;
    launch(function, grid, device::kDepthwiseThreads, shared, gpu.stream, depthwise);
  }
  if (shares) sum_means(gpu, depthwise.means, problem.weights, depthwise.item_blocks, problem.groups, means);
}

// The kernel's blocks, and its lanes: as many as shared memory has room for.
device::DepthwiseGradientProblem gradient_problem(const device::WeightGradientProblem& problem, DataType type) {
  device::DepthwiseGradientProblem depthwise;
  depthwise.gradient = problem;
  depthwise.block_vectors = block_vectors(problem.groups, type, kMostVectors);
  const int channels = depthwise.block_vectors * vector_size(type);
  depthwise.channel_blocks = static_cast<int>(whole_parts(problem.groups, channels));
  const int room = kSharedBytes / (problem.axes[1].kernel * channels * static_cast<int>(sizeof(float)));
  depthwise.lanes = std::min(device::kDepthwiseThreads / depthwise.block_vectors, room);
  return depthwise;
}

template <class T>
void sum_gradient(const Device& gpu, const device::WeightGradientProblem& problem, DataType type) {
  const device::DepthwiseGradientProblem depthwise = gradient_problem(problem, type);
  const dim3 grid = row_of_blocks(problem.splits * depthwise_gradient_blocks(problem, type));
  for_kernel(problem.axes[1].kernel, [&](auto size) {
    const size_t shared = device::depthwise_gradient_bytes<T>(size, depthwise.lanes, depthwise.block_vectors);
    const auto function =
        problem.axes[1].stride == 1 ? device::depthwise_weight_gradient<T, size, 1> : device::depthwise_weight_gradient<T, size, 2>;
    launch(function, grid, device::kDepthwiseThreads, shared, gpu.stream, depthwise);
  });
}

}  // namespace

bool is_depthwise(const device::GatherProblem& problem, const Device& gpu, DataType type) {
  const bool vectors = problem.groups % vector_size(type) == 0 && is_aligned(problem.source) && is_aligned(problem.result) &&
                       is_aligned(problem.epilogue.residual);
  const int64_t row = int64_t{block_vectors(problem.groups, type, kMostVectors)} * vector_size(type) * static_cast<int64_t>(sizeof(float));
  return problem.depth == 1 && problem.width == 1 && vectors && (problem.taps + 2) * row <= static_cast<int64_t>(gpu.shared_memory);
}

size_t depthwise_scratch_bytes(const device::GatherProblem& problem, DataType type) {
  const int64_t blocks = divide(problem, type, false).item_blocks;
  return blocks > 1 ? static_cast<size_t>(problem.weights * blocks * problem.groups) * sizeof(float) : 0;
}

void gather_depthwise(const Device& gpu, const device::GatherProblem& problem, DataType type, bool backward, float* means,
                      std::byte* scratch) {
  type == DataType::bfloat16 ? gather<bfloat16>(gpu, problem, type, backward, means, scratch)
                             : gather<float>(gpu, problem, type, backward, means, scratch);
}

bool has_depthwise_gradient(const device::WeightGradientProblem& problem, DataType type) {
  return problem.in_width == 1 && problem.out_width == 1 && problem.groups % vector_size(type) == 0 && square_kernel(problem.axes) > 0 &&
         problem.axes[1].stride <= 2;
}

int64_t depthwise_gradient_blocks(const device::WeightGradientProblem& problem, DataType type) {
  return problem.weights * problem.axes[1].kernel * gradient_problem(problem, type).channel_blocks;
}

int64_t depthwise_gradient_strips(const device::WeightGradientProblem& problem) {
  return problem.images * problem.axes[1].out * whole_parts(problem.axes[2].out, device::kStrip);
}

void weight_gradient_depthwise(const Device& gpu, const device::WeightGradientProblem& problem, DataType type) {
  type == DataType::bfloat16 ? sum_gradient<bfloat16>(gpu, problem, type) : sum_gradient<float>(gpu, problem, type);
}

}  // namespace kw::cuda
