#include "runtime/axis_order.h"

#include <algorithm>

#include "runtime/kernel_checks.h"

namespace kw {

std::vector<OrderedAxis> ordered_axes(const StepContext& context) {
  const Tensor& x = context.input(0);
  const std::vector<int64_t> axes = context.integers("axes");
  std::vector<bool> is_named(x.shape.size());
  bool is_order = axes.size() == x.shape.size();
  for (const int64_t axis : axes) {
    is_order = is_order && axis >= 0 && axis < static_cast<int64_t>(is_named.size()) && !is_named[static_cast<size_t>(axis)];
    if (is_order) is_named[static_cast<size_t>(axis)] = true;
  }
  if (!is_order) context.fail("expected axes to be an order of those of x " + describe(x.shape) + " but received " + describe(axes));

  std::vector<int64_t> strides(x.shape.size()), shape;
  int64_t stride = 1;
  for (size_t axis = strides.size(); axis-- > 0; stride *= x.shape[axis]) strides[axis] = stride;
  std::vector<OrderedAxis> ordered;
  for (const int64_t axis : axes) {
    const OrderedAxis next{x.shape[static_cast<size_t>(axis)], strides[static_cast<size_t>(axis)]};
    shape.push_back(next.size);
    if (next.size == 1) continue;
    if (!ordered.empty() && ordered.back().stride == next.size * next.stride) {
      ordered.back() = {ordered.back().size * next.size, next.stride};
    } else {
      ordered.push_back(next);
    }
  }
  expect_shape(context, "y", context.output(0), shape, x.type);
  return ordered;
}

}  // namespace kw
