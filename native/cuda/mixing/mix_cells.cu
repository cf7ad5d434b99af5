// Weights assembled from attention [N,m,n] and cells [n,fe,keh,kew,ce] in the layout [N,O,kh,kw,I], and the gradients of that.
#include <memory>

#include "cuda/kernel.h"
#include "cuda/mixing/cell_mixing.h"
#include "ops/op_list.h"

namespace kw::cuda {

namespace {

// Tensors of the workspace lie at multiples of 64 bytes, others anywhere.
bool is_unaligned(const Tensor& weight) { return weight.buffer != 0; }

SampleWeights weights_of(const Memory& memory, const Tensor& weight, const CellGrid& grid) {
  return {memory.data<std::byte>(weight), grid.weight_elements()};
}

std::shared_ptr<CellMixing> plain_mixing(const Device& gpu, const KernelContext& context, const CellGrid& grid, int64_t samples,
                                         const Tensor& weight) {
  return std::make_shared<CellMixing>(gpu, context, grid, samples, DataType::float32, is_unaligned(weight));
}

std::unique_ptr<Kernel> prepare_mix_cells(const Device& gpu, const MixCellsStep& step, const KernelContext& context) {
  const auto mixing = plain_mixing(gpu, context, step.grid, step.samples, step.weight);
  mixing->keep_cells(context, step.cells);
  context.reserve_scratch(mixing->attention_bytes(step.samples));
  return make_kernel([step, mixing](const Memory& memory) {
    mixing->convert_attention(memory.data<float>(step.attention), step.samples, memory.scratch());
    mixing->mix(memory.scratch(), step.samples, weights_of(memory, step.weight, step.grid));
  });
}

std::unique_ptr<Kernel> prepare_mix_cells_backward_attention(const Device& gpu, const MixCellsBackwardAttentionStep& step,
                                                             const KernelContext& context) {
  const auto mixing = plain_mixing(gpu, context, step.grid, step.samples, step.dweight);
  mixing->keep_cells(context, step.cells);
  context.reserve_scratch(mixing->attention_scratch_bytes());
  return make_kernel([step, mixing](const Memory& memory) {
    mixing->backward_attention(weights_of(memory, step.dweight, step.grid), step.samples, memory.data<float>(step.dattention),
                               memory.scratch());
  });
}

std::unique_ptr<Kernel> prepare_mix_cells_backward_cells(const Device& gpu, const MixCellsBackwardCellsStep& step,
                                                         const KernelContext& context) {
  const auto mixing = plain_mixing(gpu, context, step.grid, step.samples, step.dweight);
  const size_t attention_bytes = (mixing->attention_bytes(step.samples) + 63) / 64 * 64;
  context.reserve_scratch(attention_bytes + mixing->cell_scratch_bytes());
  return make_kernel([step, mixing, attention_bytes](const Memory& memory) {
    std::byte* converted = memory.scratch();
    mixing->convert_attention(memory.data<float>(step.attention), step.samples, converted);
    mixing->backward_cells(converted, weights_of(memory, step.dweight, step.grid), step.samples, {.is_first = true, .is_last = true},
                           {memory.data<float>(step.dcells), false, converted + attention_bytes});
  });
}

}  // namespace

void add_mix_cells(KernelRegistry& registry, const Device& gpu) {
  add_kernel(registry, gpu, ops::mix_cells, prepare_mix_cells);
  add_kernel(registry, gpu, ops::mix_cells_backward_attention, prepare_mix_cells_backward_attention);
  add_kernel(registry, gpu, ops::mix_cells_backward_cells, prepare_mix_cells_backward_cells);
}

}  // namespace kw::cuda
