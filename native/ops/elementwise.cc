#include "ops/elementwise.h"

#include <string>

namespace kw {

namespace {

std::vector<int64_t> with_last_axis(std::vector<int64_t> shape, int64_t size) {
  shape.back() = size;
  return shape;
}

}  // namespace

AddStep::AddStep(const StepContext& context) : a(context.input(0)), b(context.input(1)), y(context.output(0)) {
  expect_activation(context, "a", a);
  expect_shape(context, "b", b, a.shape, a.type);
  expect_shape(context, "y", y, a.shape, a.type);
}

AddBiasStep::AddBiasStep(const StepContext& context)
    : x(context.input(0)), bias(context.input(1)), y(context.output(0)), matrix(activation_matrix(context, "x", x)) {
  expect_shape(context, "bias", bias, {matrix.channels});
  expect_shape(context, "y", y, x.shape, x.type);
}

CastStep::CastStep(const StepContext& context) : x(context.input(0)), y(context.output(0)) {
  const std::string type = context.text("type");
  expect_activation(context, "x", x);
  expect_activation(context, "y", y);
  if (type != name_of(y.type)) context.fail("expected y to be " + type + " but received " + name_of(y.type));
  expect_shape(context, "y", y, x.shape, y.type);
}

FillStep::FillStep(const StepContext& context) : y(context.output(0)), value(static_cast<float>(context.number("value"))) {
  expect_shape(context, "y", y, context.integers("shape"));
}

CopyStep::CopyStep(const StepContext& context) : destination(context.input(0)), source(context.input(1)) {
  expect_shape(context, "source", source, destination.shape, destination.type);
}

SliceStep::SliceStep(const StepContext& context)
    : x(context.input(0)), y(context.output(0)), matrix(activation_matrix(context, "x", x)), start(context.integer("start")) {
  const int64_t end = context.integer("end");
  if (start < 0 || start > end || end > matrix.channels) {
    context.fail("expected 0 <= start <= end <= " + std::to_string(matrix.channels) + " but received start " + std::to_string(start) +
                 ", end " + std::to_string(end));
  }
  width = end - start;
  expect_shape(context, "y", y, with_last_axis(x.shape, width), x.type);
}

SliceBackwardStep::SliceBackwardStep(const StepContext& context)
    : dy(context.input(0)),
      dx(context.output(0)),
      matrix(activation_matrix(context, "dy", dy)),
      start(context.integer("start")),
      size(context.integer("size")) {
  if (start < 0 || size < matrix.channels || start > size - matrix.channels) {
    context.fail("expected start " + std::to_string(start) + " + " + std::to_string(matrix.channels) + " channels within size " +
                 std::to_string(size));
  }
  expect_shape(context, "dx", dx, with_last_axis(dy.shape, size), dy.type);
}

ConcatStep::ConcatStep(const StepContext& context) : y(context.output(0)), matrix(activation_matrix(context, "y", y)) {
  int64_t channels = 0;
  for (size_t position = 0; position < context.step.inputs.size(); ++position) {
    const Tensor& part = context.input(position);
    const int64_t width = as_matrix(context, "x", part, y.type).channels;
    expect_shape(context, "x", part, with_last_axis(y.shape, width), y.type);
    parts.push_back(&part);
    if (width > matrix.channels - channels) {
      context.fail("expected inputs of " + std::to_string(matrix.channels) + " channels together but received more");
    }
    channels += width;
  }
  if (channels != matrix.channels) {
    context.fail("expected inputs of " + std::to_string(matrix.channels) + " channels together but received " + std::to_string(channels));
  }
}

}  // namespace kw
