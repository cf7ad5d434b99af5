// Weights assembled from attention [N,m,n] and cells [n,fe,keh,kew,ce] in the layout [N,O,kh,kw,I], and the gradients of that.
#include <memory>
#include <vector>

#include "cuda/cell_mixing.h"
#include "cuda/kernel.h"
#include "runtime/convolution_geometry.h"

namespace kw::cuda {

namespace {

CellGrid grid_of(const StepContext& context, const std::vector<int64_t>& cell_shape) {
  const auto kernel = kernel_size(context, 2);
  return cell_grid(context, cell_shape, {context.integer("outChannels"), kernel[0], kernel[1], context.integer("inChannels")});
}

int64_t expect_weight(const StepContext& context, const char* name, const Tensor& weight, const CellGrid& grid) {
  expect_rank(context, name, weight, 5);
  expect_shape(context, name, weight, {weight.shape[0], grid.out_channels, grid.kernel_height, grid.kernel_width, grid.in_channels});
  if (weight.shape[0] < 1) context.fail("expected at least one sample");
  return weight.shape[0];
}

// Tensors of the workspace lie at multiples of 64 bytes, others anywhere.
bool is_unaligned(const Tensor& weight) { return weight.buffer != 0; }

SampleWeights weights_of(const Memory& memory, const Tensor& weight, const CellGrid& grid) {
  return {memory.data<std::byte>(weight), grid.weight_elements()};
}

std::unique_ptr<Kernel> prepare_mix_cells(const Device& gpu, const StepContext& context) {
  const Tensor &attention = context.input(0), &weight = context.output(0);
  const CellGrid grid = grid_of(context, context.input(1).shape);
  const int64_t samples = expect_weight(context, "weight", weight, grid);
  expect_shape(context, "attention", attention, {samples, grid.mixtures(), grid.cells});
  expect_type(context, "cells", context.input(1));
  const auto mixing = std::make_shared<CellMixing>(gpu, context, grid, samples, DataType::float32, is_unaligned(weight));
  mixing->keep_cells(context, 1);
  context.reserve_scratch(mixing->attention_bytes(samples));
  return make_kernel([&attention, &weight, grid, samples, mixing](const Memory& memory) {
    mixing->convert_attention(memory.data<float>(attention), samples, memory.scratch());
    mixing->mix(memory.scratch(), samples, weights_of(memory, weight, grid));
  });
}

std::unique_ptr<Kernel> prepare_backward_attention(const Device& gpu, const StepContext& context) {
  const Tensor &dweight = context.input(0), &dattention = context.output(0);
  const CellGrid grid = grid_of(context, context.input(1).shape);
  const int64_t samples = expect_weight(context, "dweight", dweight, grid);
  expect_shape(context, "dattention", dattention, {samples, grid.mixtures(), grid.cells});
  expect_type(context, "cells", context.input(1));
  const auto mixing = std::make_shared<CellMixing>(gpu, context, grid, samples, DataType::float32, is_unaligned(dweight));
  mixing->keep_cells(context, 1);
  context.reserve_scratch(mixing->attention_scratch_bytes());
  return make_kernel([&dweight, &dattention, grid, samples, mixing](const Memory& memory) {
    mixing->backward_attention(weights_of(memory, dweight, grid), samples, memory.data<float>(dattention), memory.scratch());
  });
}

std::unique_ptr<Kernel> prepare_backward_cells(const Device& gpu, const StepContext& context) {
  const Tensor &dweight = context.input(0), &attention = context.input(1), &dcells = context.output(0);
  const CellGrid grid = grid_of(context, context.integers("cellShape"));
  const int64_t samples = expect_weight(context, "dweight", dweight, grid);
  expect_shape(context, "attention", attention, {samples, grid.mixtures(), grid.cells});
  expect_shape(context, "dcells", dcells, context.integers("cellShape"));
  const auto mixing = std::make_shared<CellMixing>(gpu, context, grid, samples, DataType::float32, is_unaligned(dweight));
  const size_t attention_bytes = (mixing->attention_bytes(samples) + 63) / 64 * 64;
  context.reserve_scratch(attention_bytes + mixing->cell_scratch_bytes());
  return make_kernel([&dweight, &attention, &dcells, grid, samples, mixing, attention_bytes](const Memory& memory) {
    std::byte* converted = memory.scratch();
    mixing->convert_attention(memory.data<float>(attention), samples, converted);
    mixing->backward_cells(converted, weights_of(memory, dweight, grid), samples, {.is_first = true, .is_last = true},
                           {memory.data<float>(dcells), false, converted + attention_bytes});
  });
}

}  // namespace

void add_mix_cells(KernelRegistry& ops, const Device& gpu) {
  ops.add("mix_cells", [&gpu](const StepContext& context) { return prepare_mix_cells(gpu, context); });
  ops.add("mix_cells_backward_attention", [&gpu](const StepContext& context) { return prepare_backward_attention(gpu, context); });
  ops.add("mix_cells_backward_cells", [&gpu](const StepContext& context) { return prepare_backward_cells(gpu, context); });
}

}  // namespace kw::cuda
