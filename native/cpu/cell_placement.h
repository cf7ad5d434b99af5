// Where a layer's cells put their elements in a weight layout.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "runtime/cell_grid.h"

namespace kw::cpu {

struct WeightOffsets;

// How a layer's weight is cut into slices, each the weight of a convolution of its own that has fewer channels on one side: those of one
// position of cells, and of every cell's channels there one of `parts` equal ranges. A slice of all samples may stay in a cache where the
// weights of all samples would not, and then no cell is read twice.
struct CellSlices {
  enum class Axis { out, in };
  Axis axis = Axis::out;
  int64_t positions = 1;  // of cells along the axis: O / fe, or I / ce
  int64_t parts = 1;      // of a cell's channels
};
// The slice that begins at channel (position * parts + part) * (channels of a cell / parts) of the axis.
struct CellSlice {
  int64_t position = 0, part = 0;
};
// All of `grid` cut along the axis; `parts` divides the cells' channels.
CellSlices cell_slices(const CellGrid& grid, CellSlices::Axis axis, int64_t parts);
// The grid of one slice.
CellGrid slice_grid(const CellGrid& grid, const CellSlices& slices);

// A cell's place in a weight layout: element e of mixture i lies at mixtures[i] + elements[e], e row-major in [fe,keh,kew,ce].
struct CellPlacement {
  std::vector<int64_t> mixtures;
  std::vector<int64_t> elements;
};
// Nothing when the distances within a cell depend on the mixture, e.g. in a layout with blocks wider than the cell.
std::optional<CellPlacement> place_cells(const CellGrid& grid, const WeightOffsets& offsets);

}  // namespace kw::cpu
