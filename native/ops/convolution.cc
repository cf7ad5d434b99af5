#include "ops/convolution.h"

#include <algorithm>
#include <limits>
#include <string>

namespace kw {

namespace {

// Beyond it a stride is longer than any kernel that computes on vectors or tiles takes.
constexpr int64_t kLongStride = 64;

// An attribute with a number for each spatial dimension.
std::vector<int64_t> sizes(const StepContext& context, const char* name, size_t dimensions, int64_t least) {
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  const auto values = context.integers(name);
  if (values.size() != dimensions || std::any_of(values.begin(), values.end(), [least](int64_t value) { return value < least; })) {
    context.fail(std::string("expected ") + name + " to be " + std::to_string(dimensions) + " integers of at least " +
                 std::to_string(least));
  }
  if (*std::max_element(values.begin(), values.end()) > kMost) {
    context.fail(std::string("expected ") + name + " to be at most " + std::to_string(kMost) + " but received " + describe(values));
  }
  return values;
}

void expect_same_activations(const StepContext& context, const Tensor& x, const Tensor& y) {
  if (x.type != DataType::float32) expect_type(context, "x", x, DataType::bfloat16);
  expect_type(context, "y", y, x.type);
}

const Tensor& x_of(const StepContext& context, ConvolutionPass pass) {
  return pass == ConvolutionPass::backward_input ? context.output(0) : context.input(0);
}

const Tensor& weight_of(const StepContext& context, ConvolutionPass pass) {
  return pass == ConvolutionPass::backward_weight ? context.output(0) : context.input(1);
}

const Tensor& y_of(const StepContext& context, ConvolutionPass pass) {
  return pass == ConvolutionPass::forward ? context.output(0) : context.input(pass == ConvolutionPass::backward_input ? 0 : 1);
}

// The weight's own spatial axes; of its gradient, the attribute.
std::vector<int64_t> kernel_of(const StepContext& context, ConvolutionPass pass, const Tensor& weight, size_t dimensions, bool samplewise) {
  const size_t first = samplewise ? 2 : 1;
  if (pass == ConvolutionPass::backward_weight) return read_kernel(context, dimensions);
  expect_rank(context, "weight", weight, first + dimensions + 1);
  return {weight.shape.begin() + static_cast<int64_t>(first), weight.shape.end() - 1};
}

}  // namespace

ConvolutionGeometry ConvolutionGeometry::with_batch(int64_t samples) const {
  ConvolutionGeometry result = *this;
  result.batch = samples;
  return result;
}

int64_t ConvolutionGeometry::sample_elements() const { return product(size) * in_channels; }

int64_t ConvolutionGeometry::out_sample_elements() const { return product(out_size) * out_channels; }

int64_t ConvolutionGeometry::weight_elements() const { return product(weight_shape()); }

std::vector<int64_t> ConvolutionGeometry::weight_shape() const {
  std::vector<int64_t> shape = {out_channels};
  shape.insert(shape.end(), kernel.begin(), kernel.end());
  shape.push_back(in_channels / groups);
  return shape;
}

std::vector<int64_t> read_kernel(const StepContext& context, size_t dimensions) { return sizes(context, "kernel", dimensions, 1); }

ConvolutionGeometry read_geometry(const StepContext& context, const Tensor& x, const Tensor& y, const std::vector<int64_t>& kernel) {
  const size_t dimensions = kernel.size();
  expect_same_activations(context, x, y);
  expect_rank(context, "x", x, dimensions + 2, x.type);
  expect_rank(context, "y", y, dimensions + 2, x.type);
  ConvolutionGeometry g{};
  g.batch = x.shape.front(), g.in_channels = x.shape.back(), g.out_channels = y.shape.back();
  g.size.assign(x.shape.begin() + 1, x.shape.end() - 1);
  g.out_size.assign(y.shape.begin() + 1, y.shape.end() - 1);
  g.kernel = kernel;
  g.groups = context.integer("groups");
  g.stride = sizes(context, "stride", dimensions, 1);
  g.padding = sizes(context, "padding", dimensions, 0);
  g.dilation = sizes(context, "dilation", dimensions, 1);
  if (*std::min_element(kernel.begin(), kernel.end()) < 1) context.fail("expected a kernel that is not empty");
  if (*std::max_element(kernel.begin(), kernel.end()) > std::numeric_limits<int32_t>::max()) {
    context.fail("expected a kernel of at most 2147483647 along each axis but received " + describe(kernel));
  }
  if (g.groups < 1 || g.in_channels % g.groups != 0 || g.out_channels % g.groups != 0) {
    context.fail(std::to_string(g.groups) + " groups do not divide " + std::to_string(g.in_channels) + " input and " +
                 std::to_string(g.out_channels) + " output channels");
  }
  if (product(x.shape) < 1 || product(y.shape) < 1) context.fail("expected activations that are not empty");
  std::vector<int64_t> expected = {g.batch};
  int64_t weight = checked_product(context, "weights", {g.out_channels, g.in_channels / g.groups});
  for (size_t axis = 0; axis < dimensions; ++axis) {
    const int64_t room = g.size[axis] + 2 * g.padding[axis] - (kernel[axis] - 1) * g.dilation[axis] - 1;
    expected.push_back(room < 0 ? 0 : room / g.stride[axis] + 1);
    weight = checked_product(context, "weights", {weight, kernel[axis]});
  }
  expected.push_back(g.out_channels);
  expect_shape(context, "the output side", y, expected, x.type);
  checked_product(context, "weights of all samples", {g.batch, weight});
  for (size_t axis = 0; axis < dimensions; ++axis) {
    // A kernel that stands at one place never makes a stride.
    if (g.out_size[axis] == 1) g.stride[axis] = std::min(g.stride[axis], kLongStride);
  }
  return g;
}

ConvolutionStep::ConvolutionStep(const StepContext& context, ConvolutionPass pass, size_t dimensions, bool samplewise, bool has_bias)
    : pass(pass),
      x(x_of(context, pass)),
      weight(weight_of(context, pass)),
      y(y_of(context, pass)),
      bias(has_bias && pass == ConvolutionPass::forward ? context.optional_input(2) : nullptr),
      geometry(read_geometry(context, x, y, kernel_of(context, pass, weight, dimensions, samplewise))) {
  std::vector<int64_t> shape = geometry.weight_shape();
  if (samplewise) shape.insert(shape.begin(), geometry.batch);
  expect_shape(context, pass == ConvolutionPass::backward_weight && !samplewise ? "dweight" : "weight", weight, shape);
  if (bias) expect_shape(context, "bias", *bias, {geometry.out_channels});
}

InferenceEpilogue::InferenceEpilogue(const StepContext& context, size_t first, const Tensor& y)
    : y(y),
      bias(context.optional_input(first - 1)),
      scale(context.input(first)),
      shift(context.input(first + 1)),
      mean(context.input(first + 2)),
      variance(context.input(first + 3)),
      residual(context.optional_input(first + 4)),
      means(context.step.outputs.size() > 1 ? &context.output(1) : nullptr),
      epsilon(context.number("epsilon")),
      activation(read_activation(context)) {
  if (bias) expect_shape(context, "bias", *bias, {channels()});
  expect_shape(context, "scale", scale, {channels()});
  expect_shape(context, "shift", shift, {channels()});
  expect_shape(context, "mean", mean, {channels()});
  expect_shape(context, "variance", variance, {channels()});
  if (residual) expect_shape(context, "residual", *residual, y.shape, y.type);
  if (means) expect_shape(context, "means", *means, {y.shape.front(), channels()});
}

NormalizedConv2dStep::NormalizedConv2dStep(const StepContext& context)
    : ConvolutionStep(context, ConvolutionPass::forward, 2, false, false), epilogue(context, 3, y) {}

}  // namespace kw
