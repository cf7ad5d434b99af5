#include "ops/transpose.h"

namespace kw {

TransposeStep::TransposeStep(const StepContext& context) : x(context.input(0)), y(context.output(0)) {
  expect_activation(context, "x", x);
  const std::vector<int64_t> order = context.integers("axes");
  std::vector<bool> is_named(x.shape.size());
  bool is_order = order.size() == x.shape.size();
  for (const int64_t axis : order) {
    is_order = is_order && axis >= 0 && axis < static_cast<int64_t>(is_named.size()) && !is_named[static_cast<size_t>(axis)];
    if (is_order) is_named[static_cast<size_t>(axis)] = true;
  }
  if (!is_order) context.fail("expected axes to be an order of those of x " + describe(x.shape) + " but received " + describe(order));

  std::vector<int64_t> strides(x.shape.size()), shape;
  int64_t stride = 1;
  for (size_t axis = strides.size(); axis-- > 0; stride *= x.shape[axis]) strides[axis] = stride;
  for (const int64_t axis : order) {
    const OrderedAxis next{x.shape[static_cast<size_t>(axis)], strides[static_cast<size_t>(axis)]};
    shape.push_back(next.size);
    if (next.size == 1) continue;
    if (!axes.empty() && axes.back().stride == next.size * next.stride) {
      axes.back() = {axes.back().size * next.size, next.stride};
    } else {
      axes.push_back(next);
    }
  }
  expect_shape(context, "y", y, shape, x.type);
}

}  // namespace kw
