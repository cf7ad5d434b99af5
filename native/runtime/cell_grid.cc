#include "runtime/cell_grid.h"

#include "runtime/kernel_checks.h"

namespace kw {

CellGrid cell_grid(const StepContext& context, const std::vector<int64_t>& cell_shape, const std::vector<int64_t>& weight_shape) {
  if (cell_shape.size() != 5 || product(cell_shape) < 1)
    context.fail("expected cells [n,fe,keh,kew,ce] but received " + describe(cell_shape));
  for (size_t axis = 0; axis < 4; ++axis) {
    if (weight_shape[axis] < 1 || weight_shape[axis] % cell_shape[axis + 1] != 0) {
      context.fail("cells " + describe(cell_shape) + " do not divide the weight " + describe(weight_shape));
    }
  }
  return {cell_shape[0],   cell_shape[1],   cell_shape[2],   cell_shape[3],  cell_shape[4],
          weight_shape[0], weight_shape[1], weight_shape[2], weight_shape[3]};
}

}  // namespace kw
