// Weights assembled from attention [N,m,n] and cells [n,fe,keh,kew,ce] in the plain layout [N,O,kh,kw,I], and the gradients of that.
#include <memory>
#include <optional>
#include <vector>

#include "cpu/convolution.h"
#include "cpu/cpu_backend.h"
#include "cpu/mixing.h"
#include "runtime/kernel_checks.h"

namespace kw::cpu {

namespace {

CellGrid plain_grid(const StepContext& context, const std::vector<int64_t>& cell_shape) {
  const auto kernel = kernel_size(context, 2);
  return cell_grid(context, cell_shape, {context.integer("outChannels"), kernel[0], kernel[1], context.integer("inChannels")});
}

CellMixing plain_mixing(const StepContext& context, const CellGrid& grid, int64_t samples) {
  const auto offsets = plain_weight_offsets(grid.out_channels, grid.kernel_height, grid.kernel_width, grid.in_channels);
  return CellMixing(context, grid, place_cells(grid, offsets).value(), samples);
}

int64_t expect_weight(const StepContext& context, const char* name, const Tensor& weight, const CellGrid& grid) {
  expect_rank(context, name, weight, 5);
  expect_shape(context, name, weight, {weight.shape[0], grid.out_channels, grid.kernel_height, grid.kernel_width, grid.in_channels});
  if (weight.shape[0] < 1) context.fail("expected at least one sample");
  return weight.shape[0];
}

class MixCells final : public Kernel {
 public:
  explicit MixCells(const StepContext& context)
      : attention_(context.input(0)),
        weight_(context.output(0)),
        grid_(plain_grid(context, context.input(1).shape)),
        samples_(expect_weight(context, "weight", weight_, grid_)),
        mixing_(plain_mixing(context, grid_, samples_)) {
    expect_shape(context, "attention", attention_, {samples_, grid_.mixtures(), grid_.cells});
    expect_type(context, "cells", context.input(1));
    mixing_.keep_cells(context, 1, CellMixing::Use::mix);
    context.reserve_scratch(mixing_.mix_scratch_bytes());
  }

  void run(const Memory& memory) override {
    mixing_.mix(memory.data<float>(attention_), samples_, mixing_.cell_panels(memory), memory.data<float>(weight_),
                weight_.elements() / samples_, memory.scratch());
  }

 private:
  const Tensor& attention_;
  const Tensor& weight_;
  CellGrid grid_;
  int64_t samples_;
  CellMixing mixing_;
};

class MixCellsBackwardAttention final : public Kernel {
 public:
  explicit MixCellsBackwardAttention(const StepContext& context)
      : dweight_(context.input(0)),
        dattention_(context.output(0)),
        grid_(plain_grid(context, context.input(1).shape)),
        samples_(expect_weight(context, "dweight", dweight_, grid_)),
        mixing_(plain_mixing(context, grid_, samples_)) {
    expect_shape(context, "dattention", dattention_, {samples_, grid_.mixtures(), grid_.cells});
    expect_type(context, "cells", context.input(1));
    mixing_.keep_cells(context, 1, CellMixing::Use::backward);
    context.reserve_scratch(mixing_.backward_scratch_bytes());
  }

  void run(const Memory& memory) override {
    mixing_.backward(nullptr, samples_, mixing_.cell_panels(memory), memory.data<float>(dweight_), dweight_.elements() / samples_,
                     {.dattention = memory.data<float>(dattention_)}, memory.scratch());
  }

 private:
  const Tensor& dweight_;
  const Tensor& dattention_;
  CellGrid grid_;
  int64_t samples_;
  CellMixing mixing_;
};

class MixCellsBackwardCells final : public Kernel {
 public:
  explicit MixCellsBackwardCells(const StepContext& context)
      : dweight_(context.input(0)),
        attention_(context.input(1)),
        dcells_(context.output(0)),
        grid_(plain_grid(context, context.integers("cellShape"))),
        samples_(expect_weight(context, "dweight", dweight_, grid_)),
        mixing_(plain_mixing(context, grid_, samples_)) {
    expect_shape(context, "attention", attention_, {samples_, grid_.mixtures(), grid_.cells});
    expect_shape(context, "dcells", dcells_, context.integers("cellShape"));
    context.reserve_scratch(mixing_.backward_scratch_bytes());
  }

  void run(const Memory& memory) override {
    mixing_.backward(memory.data<float>(attention_), samples_, nullptr, memory.data<float>(dweight_), dweight_.elements() / samples_,
                     {.dcells = memory.data<float>(dcells_)}, memory.scratch());
  }

 private:
  const Tensor& dweight_;
  const Tensor& attention_;
  const Tensor& dcells_;
  CellGrid grid_;
  int64_t samples_;
  CellMixing mixing_;
};

}  // namespace

void add_mix_cells(KernelRegistry& registry) {
  registry.add("mix_cells", [](const StepContext& context) { return std::make_unique<MixCells>(context); });
  registry.add("mix_cells_backward_attention",
               [](const StepContext& context) { return std::make_unique<MixCellsBackwardAttention>(context); });
  registry.add("mix_cells_backward_cells", [](const StepContext& context) { return std::make_unique<MixCellsBackwardCells>(context); });
}

}  // namespace kw::cpu
