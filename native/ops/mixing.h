// Weights that are mixed from the cells of a warehouse (KernelWarehouse, section 3.2), and convolutions with them.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "ops/convolution.h"

namespace kw {

// The cells of a warehouse, [n,fe,keh,kew,ce], in one layer's weight [O,kh,kw,I].
struct CellGrid {
  int64_t cells, cell_out, cell_height, cell_width, cell_in;
  int64_t out_channels, kernel_height, kernel_width, in_channels;

  int64_t cell_elements() const { return cell_out * cell_height * cell_width * cell_in; }
  int64_t weight_elements() const { return out_channels * kernel_height * kernel_width * in_channels; }
  int64_t mixtures() const { return weight_elements() / cell_elements(); }
};

// Refuses cells that are empty or do not divide the weight.
CellGrid read_cell_grid(const StepContext& context, const std::vector<int64_t>& cell_shape, const std::vector<int64_t>& weight_shape);

// weight [N,O,kh,kw,I] of attention [N,m,n] and cells.
struct MixCellsStep {
  explicit MixCellsStep(const StepContext& context);
  const Tensor &attention, &cells, &weight;
  CellGrid grid;
  int64_t samples;
};

struct MixCellsBackwardAttentionStep {
  explicit MixCellsBackwardAttentionStep(const StepContext& context);
  const Tensor &dweight, &cells, &dattention;
  CellGrid grid;
  int64_t samples;
};

struct MixCellsBackwardCellsStep {
  explicit MixCellsBackwardCellsStep(const StepContext& context);
  const Tensor &dweight, &attention, &dcells;
  CellGrid grid;
  int64_t samples;
};

// A convolution whose weights are mixed. `x` and `y` are values or gradients.
struct MixedConvolutionStep {
  ConvolutionPass pass;
  const Tensor &x, &y, &attention, &cells;
  const Tensor* bias;  // null where there is none, or an epilogue has it
  ConvolutionGeometry geometry;
  CellGrid grid;
  std::optional<InferenceEpilogue> epilogue;

 protected:
  struct Tensors {
    const Tensor &x, &y, &attention, &cells;
  };
  MixedConvolutionStep(const StepContext& context, ConvolutionPass pass, const Tensors& tensors, const Tensor* bias);
};

struct MixedConv2dStep : MixedConvolutionStep {
  explicit MixedConv2dStep(const StepContext& context);
};

struct NormalizedMixedConv2dStep : MixedConvolutionStep {
  static constexpr InPlace in_place[] = {{0, 8}};
  explicit NormalizedMixedConv2dStep(const StepContext& context);
};

struct MixedConv2dBackwardInputStep : MixedConvolutionStep {
  explicit MixedConv2dBackwardInputStep(const StepContext& context);
};

struct MixedConv2dBackwardMixingStep : MixedConvolutionStep {
  static constexpr InPlace in_place[] = {{1, 4}};
  explicit MixedConv2dBackwardMixingStep(const StepContext& context);
  const Tensor &dattention, &dcells;
  bool accumulates;  // dcells has earlier sums in its memory, to which the gradient is added
};

}  // namespace kw

// Names in plans, and how their steps are read.
#define KW_MIXING_OPS(OP)                                         \
  OP(mix_cells, MixCellsStep)                                     \
  OP(mix_cells_backward_attention, MixCellsBackwardAttentionStep) \
  OP(mix_cells_backward_cells, MixCellsBackwardCellsStep)         \
  OP(mixed_conv2d, MixedConv2dStep)                               \
  OP(mixed_conv2d_backward_input, MixedConv2dBackwardInputStep)   \
  OP(mixed_conv2d_backward_mixing, MixedConv2dBackwardMixingStep) \
  OP(normalized_mixed_conv2d, NormalizedMixedConv2dStep)
