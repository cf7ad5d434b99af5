#include "ops/mixing.h"

#include <algorithm>

namespace kw {

namespace {

// Of the plain weight that the attributes describe.
CellGrid plain_grid(const StepContext& context, const std::vector<int64_t>& cell_shape) {
  const auto kernel = read_kernel(context, 2);
  return read_cell_grid(context, cell_shape, {context.integer("outChannels"), kernel[0], kernel[1], context.integer("inChannels")});
}

// Of weights [N,O,kh,kw,I].
int64_t read_samples(const StepContext& context, const char* name, const Tensor& weight, const CellGrid& grid) {
  expect_rank(context, name, weight, 5);
  expect_shape(context, name, weight, {weight.shape[0], grid.out_channels, grid.kernel_height, grid.kernel_width, grid.in_channels});
  if (weight.shape[0] < 1) context.fail("expected at least one sample");
  return weight.shape[0];
}

void expect_out_channels(const StepContext& context, const ConvolutionGeometry& geometry) {
  if (geometry.out_channels != context.integer("outChannels")) context.fail("expected y with outChannels channels");
}

}  // namespace

CellGrid read_cell_grid(const StepContext& context, const std::vector<int64_t>& cell_shape, const std::vector<int64_t>& weight_shape) {
  if (cell_shape.size() != 5 || *std::min_element(cell_shape.begin(), cell_shape.end()) < 1) {
    context.fail("expected cells [n,fe,keh,kew,ce] but received " + describe(cell_shape));
  }
  for (size_t axis = 0; axis < 4; ++axis) {
    if (weight_shape[axis] < 1 || weight_shape[axis] % cell_shape[axis + 1] != 0) {
      context.fail("cells " + describe(cell_shape) + " do not divide the weight " + describe(weight_shape));
    }
  }
  checked_product(context, "weights", {weight_shape[0], weight_shape[1], weight_shape[2], weight_shape[3]});
  return {cell_shape[0],   cell_shape[1],   cell_shape[2],   cell_shape[3],  cell_shape[4],
          weight_shape[0], weight_shape[1], weight_shape[2], weight_shape[3]};
}

MixCellsStep::MixCellsStep(const StepContext& context)
    : attention(context.input(0)),
      cells(context.input(1)),
      weight(context.output(0)),
      grid(plain_grid(context, cells.shape)),
      samples(read_samples(context, "weight", weight, grid)) {
  expect_shape(context, "attention", attention, {samples, grid.mixtures(), grid.cells});
  expect_type(context, "cells", cells);
}

MixCellsBackwardAttentionStep::MixCellsBackwardAttentionStep(const StepContext& context)
    : dweight(context.input(0)),
      cells(context.input(1)),
      dattention(context.output(0)),
      grid(plain_grid(context, cells.shape)),
      samples(read_samples(context, "dweight", dweight, grid)) {
  expect_shape(context, "dattention", dattention, {samples, grid.mixtures(), grid.cells});
  expect_type(context, "cells", cells);
}

MixCellsBackwardCellsStep::MixCellsBackwardCellsStep(const StepContext& context)
    : dweight(context.input(0)),
      attention(context.input(1)),
      dcells(context.output(0)),
      grid(plain_grid(context, context.integers("cellShape"))),
      samples(read_samples(context, "dweight", dweight, grid)) {
  expect_shape(context, "attention", attention, {samples, grid.mixtures(), grid.cells});
  expect_shape(context, "dcells", dcells, context.integers("cellShape"));
}

MixedConvolutionStep::MixedConvolutionStep(const StepContext& context, ConvolutionPass pass, const Tensors& tensors, const Tensor* bias)
    : pass(pass),
      x(tensors.x),
      y(tensors.y),
      attention(tensors.attention),
      cells(tensors.cells),
      bias(bias),
      geometry(read_geometry(context, x, y, read_kernel(context, 2))),
      grid(read_cell_grid(context, cells.shape, geometry.weight_shape())) {
  expect_shape(context, "attention", attention, {geometry.batch, grid.mixtures(), grid.cells});
  expect_type(context, "cells", cells);
  if (bias) expect_shape(context, "bias", *bias, {geometry.out_channels});
}

MixedConv2dStep::MixedConv2dStep(const StepContext& context)
    : MixedConvolutionStep(context, ConvolutionPass::forward, {context.input(0), context.output(0), context.input(1), context.input(2)},
                           context.optional_input(3)) {
  expect_out_channels(context, geometry);
}

NormalizedMixedConv2dStep::NormalizedMixedConv2dStep(const StepContext& context)
    : MixedConvolutionStep(context, ConvolutionPass::forward, {context.input(0), context.output(0), context.input(1), context.input(2)},
                           nullptr) {
  expect_out_channels(context, geometry);
  epilogue.emplace(context, 4, y);
}

MixedConv2dBackwardInputStep::MixedConv2dBackwardInputStep(const StepContext& context)
    : MixedConvolutionStep(context, ConvolutionPass::backward_input,
                           {context.output(0), context.input(0), context.input(1), context.input(2)}, nullptr) {}

MixedConv2dBackwardMixingStep::MixedConv2dBackwardMixingStep(const StepContext& context)
    : MixedConvolutionStep(context, ConvolutionPass::backward_weight,
                           {context.input(0), context.input(1), context.input(2), context.input(3)}, nullptr),
      dattention(context.output(0)),
      dcells(context.output(1)),
      accumulates(context.has_input(4)) {
  expect_shape(context, "dattention", dattention, attention.shape);
  expect_shape(context, "dcells", dcells, cells.shape);
  if (!accumulates) return;
  const Tensor& accumulator = context.input(4);
  expect_shape(context, "accumulator", accumulator, dcells.shape);
  if (accumulator.buffer != dcells.buffer || accumulator.offset != dcells.offset) {
    context.fail("expected dcells in the accumulator's memory");
  }
}

}  // namespace kw
