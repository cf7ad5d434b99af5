// How the cells of a warehouse divide a layer's weight.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/backend.h"

namespace kw {

// The cells of a warehouse, [n,fe,keh,kew,ce], in one layer's weight [O,kh,kw,I].
struct CellGrid {
  int64_t cells, cell_out, cell_height, cell_width, cell_in;
  int64_t out_channels, kernel_height, kernel_width, in_channels;

  int64_t cell_elements() const { return cell_out * cell_height * cell_width * cell_in; }
  int64_t weight_elements() const { return out_channels * kernel_height * kernel_width * in_channels; }
  int64_t mixtures() const { return weight_elements() / cell_elements(); }
};

// Refuses cells that do not divide the weight (invalid_plan).
CellGrid cell_grid(const StepContext& context, const std::vector<int64_t>& cell_shape, const std::vector<int64_t>& weight_shape);

}  // namespace kw
