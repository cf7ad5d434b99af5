#include "ops/pooling.h"

#include <limits>
#include <string>
#include <vector>

namespace kw {

namespace {

PooledShape pooled_shape(const StepContext& context, const char* wide_name, const Tensor& wide, const char* name, const Tensor& pooled) {
  const Matrix matrix = activation_matrix(context, wide_name, wide);
  if (wide.shape.size() < 2)
    context.fail(std::string("expected ") + wide_name + " of shape [N, ..., C] but received " + describe(wide.shape));
  const int64_t samples = wide.shape[0];
  expect_shape(context, name, pooled, {samples, matrix.channels});
  return {samples, matrix.rows / samples, matrix.channels};
}

// Between `wide` [N,H,W,C] and `pooled` [N,rows,columns,C], whose shapes are known to fit.
AdaptiveWindows adaptive_windows(const StepContext& context, const Tensor& wide, const Tensor& pooled) {
  if (wide.elements() == 0 || pooled.elements() == 0) {
    context.fail("expected images and windows, not empty, but received " + describe(wide.shape) + " and " + describe(pooled.shape));
  }
  for (size_t axis = 1; axis < 3; ++axis) checked_product(context, "pixels times windows", {wide.shape[axis], pooled.shape[axis]});
  return {wide.shape[0], {wide.shape[1], wide.shape[2]}, {pooled.shape[1], pooled.shape[2]}, wide.shape[3]};
}

// The windows of a max_pool2d step on images of shape `x`.
PoolWindows pool_windows(const StepContext& context, const std::vector<int64_t>& x) {
  const std::vector<int64_t> kernel = context.integers("kernel"), stride = context.integers("stride"),
                             padding = context.integers("padding");
  if (kernel.size() != 2 || stride.size() != 2 || padding.size() != 2) context.fail("expected kernel, stride and padding of two integers");
  PoolWindows windows{};
  for (size_t axis = 0; axis < 2; ++axis) {
    const int64_t size = x[axis + 1];
    const bool fits = kernel[axis] >= 1 && stride[axis] >= 1 && padding[axis] >= 0 && padding[axis] <= kernel[axis] / 2 &&
                      kernel[axis] - padding[axis] <= size + padding[axis];
    if (!fits) {
      context.fail(
          "expected kernel >= 1, stride >= 1, 0 <= padding <= kernel / 2 and a padded x no smaller than the kernel, but received kernel " +
          describe(kernel) + ", stride " + describe(stride) + ", padding " + describe(padding) + ", x " + describe(x));
    }
    windows.size[axis] = size;
    windows.out_size[axis] = (size + 2 * padding[axis] - kernel[axis]) / stride[axis] + 1;
    windows.kernel[axis] = kernel[axis];
    windows.stride[axis] = stride[axis];
    windows.padding[axis] = padding[axis];
  }
  if (x[1] * x[2] > std::numeric_limits<int32_t>::max()) context.fail("x is too large for int32 indices: " + describe(x));
  windows.channels = x[3];
  return windows;
}

// The windows that the indices of a max_pool2d_backward step come from: those of the step before it that made them.
std::optional<PoolWindows> windows_of_indices(const StepContext& context, const std::vector<int64_t>& x) {
  const int indices = context.step.inputs[1];
  for (const Step& step : context.plan.steps) {
    if (&step == &context.step) break;
    if (step.op != "max_pool2d" || step.outputs.size() < 2 || step.outputs[1] != indices) continue;
    return pool_windows(StepContext(context.plan, step, context.threads, context.resources), x);
  }
  return std::nullopt;
}

}  // namespace

GlobalAvgPoolStep::GlobalAvgPoolStep(const StepContext& context)
    : x(context.input(0)), y(context.output(0)), shape(pooled_shape(context, "x", x, "y", y)) {}

GlobalAvgPoolBackwardStep::GlobalAvgPoolBackwardStep(const StepContext& context)
    : dy(context.input(0)), accumulator(context.optional_input(1)), dx(context.output(0)) {
  expect_shape(context, "dx", dx, context.integers("inputShape"), dx.type);
  if (accumulator) expect_shape(context, "accumulator", *accumulator, dx.shape, dx.type);
  shape = pooled_shape(context, "dx", dx, "dy", dy);
}

AdaptiveAvgPool2dStep::AdaptiveAvgPool2dStep(const StepContext& context) : x(context.input(0)), y(context.output(0)) {
  const std::vector<int64_t> size = size_pair(context, "size", 1);
  expect_activation(context, "x", x);
  expect_rank(context, "x", x, 4, x.type);
  expect_shape(context, "y", y, {x.shape[0], size[0], size[1], x.shape[3]});
  windows = adaptive_windows(context, x, y);
}

AdaptiveAvgPool2dBackwardStep::AdaptiveAvgPool2dBackwardStep(const StepContext& context) : dy(context.input(0)), dx(context.output(0)) {
  const std::vector<int64_t> size = size_pair(context, "inputSize", 1);
  expect_rank(context, "dy", dy, 4);
  expect_activation(context, "dx", dx);
  expect_shape(context, "dx", dx, {dy.shape[0], size[0], size[1], dy.shape[3]}, dx.type);
  windows = adaptive_windows(context, dx, dy);
}

MaxPool2dStep::MaxPool2dStep(const StepContext& context) : x(context.input(0)), y(context.output(0)), indices(context.output(1)) {
  expect_activation(context, "x", x);
  expect_rank(context, "x", x, 4, x.type);
  windows = pool_windows(context, x.shape);
  const std::vector<int64_t> shape = {x.shape[0], windows.out_size[0], windows.out_size[1], x.shape[3]};
  expect_shape(context, "y", y, shape, x.type);
  expect_shape(context, "indices", indices, shape, DataType::int32);
}

MaxPool2dBackwardStep::MaxPool2dBackwardStep(const StepContext& context)
    : dy(context.input(0)), indices(context.input(1)), dx(context.output(0)) {
  expect_activation(context, "dy", dy);
  expect_rank(context, "dy", dy, 4, dy.type);
  expect_shape(context, "indices", indices, dy.shape, DataType::int32);
  const std::vector<int64_t> size = size_pair(context, "inputSize", 1);
  expect_shape(context, "dx", dx, {dy.shape[0], size[0], size[1], dy.shape[3]}, dy.type);
  samples = dy.shape[0];
  in_pixels = size[0] * size[1];
  out_pixels = dy.shape[1] * dy.shape[2];
  channels = dy.shape[3];
  windows = windows_of_indices(context, dx.shape);
}

}  // namespace kw
