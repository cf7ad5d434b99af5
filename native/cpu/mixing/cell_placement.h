// Where a layer's cells put their elements in a weight layout.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "ops/mixing.h"

namespace kw::cpu {

struct WeightOffsets;

// How a layer's weight is cut into slices: of every cell's channels along an axis a slice has one of `parts` equal ranges. A slice of all
// samples may stay in a cache where the weights of all samples would not, and no cell's element is in two slices. Where several cells lie
// along the axis, a slice's channels are in as many bands, and each band is the weight of a convolution of its own.
struct CellSlices {
  enum class Axis { out, in };
  Axis axis = Axis::out;
  int64_t parts = 1;
};
// The grid of a slice, with its bands side by side, and that of a band; `parts` divides the cells' channels.
CellGrid slice_grid(const CellGrid& grid, const CellSlices& slices);
CellGrid band_grid(const CellGrid& grid, const CellSlices& slices);

// A cell's place in a weight layout: element e of mixture i lies at mixtures[i] + elements[e], e row-major in [fe,keh,kew,ce].
struct CellPlacement {
  std::vector<int64_t> mixtures;
  std::vector<int64_t> elements;
};
// Nothing when the distances within a cell depend on the mixture, e.g. in a layout with blocks wider than the cell.
std::optional<CellPlacement> place_cells(const CellGrid& grid, const WeightOffsets& offsets);

}  // namespace kw::cpu
