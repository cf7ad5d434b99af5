#include "cpu/mixing/cell_placement.h"

#include "cpu/convolution/convolution.h"

namespace kw::cpu {

CellGrid slice_grid(const CellGrid& grid, const CellSlices& slices) {
  CellGrid slice = grid;
  const bool out = slices.axis == CellSlices::Axis::out;
  (out ? slice.cell_out : slice.cell_in) /= slices.parts;
  (out ? slice.out_channels : slice.in_channels) /= slices.parts;
  return slice;
}

CellGrid band_grid(const CellGrid& grid, const CellSlices& slices) {
  CellGrid band = slice_grid(grid, slices);
  if (slices.axis == CellSlices::Axis::out) {
    band.out_channels = band.cell_out;
  } else {
    band.in_channels = band.cell_in;
  }
  return band;
}

std::optional<CellPlacement> place_cells(const CellGrid& g, const WeightOffsets& offsets) {
  const auto keeps_shape = [](const std::vector<int64_t>& axis, int64_t cell) {
    for (size_t index = 0; index < axis.size(); ++index) {
      const size_t within = index % static_cast<size_t>(cell);
      if (axis[index] - axis[index - within] != axis[within] - axis[0]) return false;
    }
    return true;
  };
  if (!keeps_shape(offsets.out, g.cell_out) || !keeps_shape(offsets.row, g.cell_height) || !keeps_shape(offsets.column, g.cell_width) ||
      !keeps_shape(offsets.in, g.cell_in)) {
    return std::nullopt;
  }
  const auto for_each = [&](int64_t outs, int64_t rows, int64_t columns, int64_t ins, int64_t out_step, int64_t row_step,
                            int64_t column_step, int64_t in_step, const auto& visit) {
    for (int64_t o = 0; o < outs; ++o) {
      for (int64_t p = 0; p < rows; ++p) {
        for (int64_t q = 0; q < columns; ++q) {
          for (int64_t i = 0; i < ins; ++i) {
            visit(offsets.out[o * out_step] + offsets.row[p * row_step] + offsets.column[q * column_step] + offsets.in[i * in_step]);
          }
        }
      }
    }
  };
  CellPlacement placement;
  const int64_t origin = offsets.out[0] + offsets.row[0] + offsets.column[0] + offsets.in[0];
  for_each(g.cell_out, g.cell_height, g.cell_width, g.cell_in, 1, 1, 1, 1,
           [&](int64_t offset) { placement.elements.push_back(offset - origin); });
  // Mixtures count spatial cells first, then output cells, then input cells.
  for (int64_t p = 0; p < g.kernel_height; p += g.cell_height) {
    for (int64_t q = 0; q < g.kernel_width; q += g.cell_width) {
      for (int64_t o = 0; o < g.out_channels; o += g.cell_out) {
        for (int64_t i = 0; i < g.in_channels; i += g.cell_in) {
          placement.mixtures.push_back(offsets.out[o] + offsets.row[p] + offsets.column[q] + offsets.in[i]);
        }
      }
    }
  }
  return placement;
}

}  // namespace kw::cpu
