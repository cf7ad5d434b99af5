// Weights assembled from attention [N,m,n] and cells [n,fe,keh,kew,ce] in the plain layout [N,O,kh,kw,I], and the gradients of that.
#include <memory>

#include "cpu/convolution/convolution.h"
#include "cpu/cpu_backend.h"
#include "cpu/mixing/mixing.h"
#include "ops/op_list.h"

namespace kw::cpu {

namespace {

CellMixing plain_mixing(const KernelContext& context, const CellGrid& grid, int64_t samples) {
  const auto offsets = plain_weight_offsets(grid.out_channels, grid.kernel_height, grid.kernel_width, grid.in_channels);
  return CellMixing(context, grid, place_cells(grid, offsets).value(), samples);
}

std::unique_ptr<Kernel> prepare_mix_cells(const MixCellsStep& step, const KernelContext& context) {
  const auto mixing = std::make_shared<CellMixing>(plain_mixing(context, step.grid, step.samples));
  mixing->keep_cells(context, step.cells, CellMixing::Use::mix);
  context.reserve_scratch(mixing->mix_scratch_bytes());
  return make_kernel([step, mixing](const Memory& memory) {
    mixing->mix(memory.data<float>(step.attention), step.samples, mixing->cell_panels(memory), memory.data<float>(step.weight),
                step.grid.weight_elements(), memory.scratch());
  });
}

std::unique_ptr<Kernel> prepare_backward_attention(const MixCellsBackwardAttentionStep& step, const KernelContext& context) {
  const auto mixing = std::make_shared<CellMixing>(plain_mixing(context, step.grid, step.samples));
  mixing->keep_cells(context, step.cells, CellMixing::Use::backward);
  context.reserve_scratch(mixing->backward_scratch_bytes());
  return make_kernel([step, mixing](const Memory& memory) {
    mixing->backward(nullptr, step.samples, mixing->cell_panels(memory), memory.data<float>(step.dweight), step.grid.weight_elements(),
                     {.dattention = memory.data<float>(step.dattention)}, memory.scratch());
  });
}

std::unique_ptr<Kernel> prepare_backward_cells(const MixCellsBackwardCellsStep& step, const KernelContext& context) {
  const auto mixing = std::make_shared<CellMixing>(plain_mixing(context, step.grid, step.samples));
  context.reserve_scratch(mixing->backward_scratch_bytes());
  return make_kernel([step, mixing](const Memory& memory) {
    mixing->backward(memory.data<float>(step.attention), step.samples, nullptr, memory.data<float>(step.dweight),
                     step.grid.weight_elements(), {.dcells = memory.data<float>(step.dcells)}, memory.scratch());
  });
}

}  // namespace

void add_mix_cells(KernelRegistry& registry) {
  add_kernel(registry, ops::mix_cells, prepare_mix_cells);
  add_kernel(registry, ops::mix_cells_backward_attention, prepare_backward_attention);
  add_kernel(registry, ops::mix_cells_backward_cells, prepare_backward_cells);
}

}  // namespace kw::cpu
