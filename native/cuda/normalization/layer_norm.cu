// Layer normalization over the last axis, with its gradient.
#include "cuda/kernels/layer_norm.cuh"

#include "cuda/element.h"
#include "cuda/kernel.h"
#include "cuda/lane_grid.h"
#include "cuda/launch.h"
#include "cuda/normalization/column_grid.h"
#include "cuda/pass.h"
#include "ops/op_list.h"

namespace kw::cuda {
namespace {

template <class T, int kCount>
void run_layer_norm(const Device& gpu, const device::LayerNorm<T>& norm, Matrix matrix) {
  const LaneGrid grid(matrix.rows, matrix.channels, kCount);
  launch(device::layer_norm<T, kCount>, grid.blocks(), device::kGroupThreads, 0, gpu.stream, norm, matrix.rows, matrix.channels,
         grid.lanes);
}

std::unique_ptr<Kernel> prepare_layer_norm(const Device& gpu, const LayerNormStep& step, const KernelContext& context) {
  as_int(context, "rows", step.matrix.rows);
  return for_element(step.x, [&]<class T>(std::type_identity<T>) {
    return make_kernel([&gpu, step, matrix = step.matrix](const Memory& memory) {
      const device::LayerNorm<T> norm = {
          memory.data<T>(step.x), memory.data<float>(step.scale), memory.data<float>(step.bias),    step.epsilon,
          memory.data<T>(step.y), memory.data<float>(step.mean),  memory.data<float>(step.variance)};
      const auto run = matrix.channels % device::kPack<T> == 0 && starts_packs({norm.x, norm.y}) ? run_layer_norm<T, device::kPack<T>>
                                                                                                 : run_layer_norm<T, 1>;
      run(gpu, norm, matrix);
    });
  });
}

template <class T, int kCount>
void run_backward(const Device& gpu, const device::LayerNormGradient<T>& norm, Matrix matrix, float* dscale, float* dbias,
                  std::byte* scratch) {
  const ColumnGrid sums(matrix, kCount, device::kMostLanes, kSumBlocks), finish = grid_of_parts(sums.parts, matrix.channels);
  auto* parts = reinterpret_cast<double*>(scratch);
  // The sums first: dx may take dy's place.
  launch(device::layer_gradient_sums<T, kCount>, sums.blocks(), device::kColumnThreads, 0, gpu.stream, norm, sums.columns, parts);
  launch(device::finish_layer_gradient_sums, finish.blocks(), device::kColumnThreads, 0, gpu.stream, parts, finish.columns, dscale, dbias);
  const LaneGrid grid(matrix.rows, matrix.channels, kCount);
  launch(device::layer_gradient<T, kCount>, grid.blocks(), device::kGroupThreads, 0, gpu.stream, norm, matrix.rows, matrix.channels,
         grid.lanes);
}

std::unique_ptr<Kernel> prepare_layer_norm_backward(const Device& gpu, const LayerNormBackwardStep& step, const KernelContext& context) {
  as_int(context, "rows", step.matrix.rows);
  as_int(context, "channels", step.matrix.channels);
  return for_element(step.x, [&]<class T>(std::type_identity<T>) {
    for (const int count : {1, device::kPack<T>})
      context.reserve_scratch(ColumnGrid(step.matrix, count, device::kMostLanes, kSumBlocks).part_bytes());
    return make_kernel([&gpu, step, matrix = step.matrix](const Memory& memory) {
      const device::LayerNormGradient<T> norm = {memory.data<T>(step.dy),
                                                 memory.data<T>(step.x),
                                                 memory.data<float>(step.scale),
                                                 memory.data<float>(step.mean),
                                                 memory.data<float>(step.variance),
                                                 static_cast<float>(step.epsilon),
                                                 memory.data<T>(step.dx)};
      const bool packed = matrix.channels % device::kPack<T> == 0 && starts_packs({norm.dy, norm.x, norm.dx});
      const auto run = packed ? run_backward<T, device::kPack<T>> : run_backward<T, 1>;
      run(gpu, norm, matrix, memory.data<float>(step.dscale), memory.data<float>(step.dbias), memory.scratch());
    });
  });
}

}  // namespace

void add_layer_norm(KernelRegistry& registry, const Device& gpu) {
  add_kernel(registry, gpu, ops::layer_norm, prepare_layer_norm);
  add_kernel(registry, gpu, ops::layer_norm_backward, prepare_layer_norm_backward);
}

}  // namespace kw::cuda
