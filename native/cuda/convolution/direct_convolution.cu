// Convolution passes of any shape, one element for each thread, and what is around the faster ones.
#include "cuda/kernels/direct_convolution.cuh"

#include "cuda/convolution/convolution_methods.h"
#include "cuda/element.h"
#include "cuda/grid.h"
#include "cuda/kernels/position_means.cuh"
#include "cuda/kernels/rounded_weights.cuh"
#include "cuda/launch.h"
#include "runtime/error.h"

namespace kw::cuda {

dim3 row_of_blocks(int64_t blocks) {
  if (blocks > kLargestGrid) {
    throw Error(ErrorCode::unsupported, "A convolution of this size takes " + std::to_string(blocks) +
                                            " blocks, and a GPU starts at most " + std::to_string(kLargestGrid) +
                                            ": use a smaller batch or image");
  }
  return dim3(static_cast<unsigned>(blocks));
}

int64_t result_positions(const device::GatherProblem& problem, bool backward) {
  int64_t positions = 1;
  for (const device::ConvolutionAxis& axis : problem.axes) positions *= backward ? axis.in : axis.out;
  return positions;
}

void gather_directly(const Device& gpu, const device::GatherProblem& problem, DataType type, bool backward) {
  const int64_t count = problem.weights * problem.images * problem.groups * problem.width * result_positions(problem, backward);
  const auto start = [&](auto kernel) { launch(kernel, pass_grid(gpu, count), kPassThreads, 0, gpu.stream, problem, count); };
  if (type == DataType::bfloat16) {
    backward ? start(device::gather_directly<bfloat16, true>) : start(device::gather_directly<bfloat16, false>);
  } else {
    backward ? start(device::gather_directly<float, true>) : start(device::gather_directly<float, false>);
  }
}

void weight_gradient_directly(const Device& gpu, const device::WeightGradientProblem& problem, DataType type) {
  const int64_t count = problem.splits * problem.weights * problem.groups * problem.out_width * problem.taps * problem.in_width;
  const auto start = [&](auto kernel) { launch(kernel, pass_grid(gpu, count), kPassThreads, 0, gpu.stream, problem, count); };
  type == DataType::bfloat16 ? start(device::sum_weight_gradient_directly<bfloat16>) : start(device::sum_weight_gradient_directly<float>);
}

void average_positions(const Device& gpu, DataType type, const void* y, int64_t images, int64_t positions, int64_t channels, float* means) {
  const dim3 grid = row_of_blocks(images * whole_parts(channels, device::kWarpSize));
  const auto start = [&]<class T>(const T* values) {
    launch(device::average_positions<T>, grid, kPassThreads, 0, gpu.stream, values, positions, static_cast<int>(channels), means);
  };
  type == DataType::bfloat16 ? start(static_cast<const bfloat16*>(y)) : start(static_cast<const float*>(y));
}

void sum_means(const Device& gpu, const float* shares, int64_t images, int64_t count, int64_t channels, float* means) {
  const int64_t elements = images * channels;
  launch(device::sum_means, row_of_blocks(whole_parts(elements, kPassThreads)), kPassThreads, 0, gpu.stream, shares, count,
         static_cast<int>(channels), elements, means);
}

void sum_parts(const Device& gpu, const device::WeightGradientProblem& problem, const float* sums, void* dweight) {
  const int64_t elements = int64_t{problem.groups} * problem.out_width * problem.taps * problem.in_width;
  const int64_t count = problem.weights * elements;
  const auto start = [&]<class T>(T* result) {
    launch(device::sum_weight_gradient_splits<T>, pass_grid(gpu, count), kPassThreads, 0, gpu.stream, sums, problem.splits, count, elements,
           problem.weight_stride, result);
  };
  problem.rounds ? start(static_cast<bfloat16*>(dweight)) : start(static_cast<float*>(dweight));
}

void round_weights(const Device& gpu, const float* weights, int64_t count, int64_t elements, int64_t stride, std::byte* rounded) {
  launch(device::round_weights, pass_grid(gpu, count * elements), kPassThreads, 0, gpu.stream, weights, count * elements, elements, stride,
         reinterpret_cast<bfloat16*>(rounded));
}

}  // namespace kw::cuda
