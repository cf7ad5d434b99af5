#include "runtime/convolution_geometry.h"

#include <algorithm>
#include <string>

#include "runtime/kernel_checks.h"

namespace kw {

namespace {

// An attribute with a number for each spatial dimension.
std::vector<int64_t> sizes(const StepContext& context, const char* name, size_t dimensions, int64_t least) {
  const auto values = context.integers(name);
  if (values.size() != dimensions || std::any_of(values.begin(), values.end(), [least](int64_t value) { return value < least; })) {
    context.fail(std::string("expected ") + name + " to be " + std::to_string(dimensions) + " integers of at least " +
                 std::to_string(least));
  }
  return values;
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

std::vector<int64_t> kernel_size(const StepContext& context, size_t dimensions) { return sizes(context, "kernel", dimensions, 1); }

ConvolutionGeometry convolution_geometry(const StepContext& context, const Tensor& x, const Tensor& y, const std::vector<int64_t>& kernel) {
  const size_t dimensions = kernel.size();
  const DataType type = activation_type(context, x, y);
  expect_rank(context, "x", x, dimensions + 2, type);
  expect_rank(context, "y", y, dimensions + 2, type);
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
  if (g.groups < 1 || g.in_channels % g.groups != 0 || g.out_channels % g.groups != 0) {
    context.fail(std::to_string(g.groups) + " groups do not divide " + std::to_string(g.in_channels) + " input and " +
                 std::to_string(g.out_channels) + " output channels");
  }
  if (product(x.shape) < 1 || product(y.shape) < 1) context.fail("expected activations that are not empty");
  std::vector<int64_t> expected = {g.batch};
  for (size_t axis = 0; axis < dimensions; ++axis) {
    const int64_t room = g.size[axis] + 2 * g.padding[axis] - (kernel[axis] - 1) * g.dilation[axis] - 1;
    expected.push_back(room < 0 ? 0 : room / g.stride[axis] + 1);
  }
  expected.push_back(g.out_channels);
  expect_shape(context, "the output side", y, expected, type);
  return g;
}

DataType activation_type(const StepContext& context, const Tensor& x, const Tensor& y) {
  if (x.type != DataType::float32) expect_type(context, "x", x, DataType::bfloat16);
  expect_type(context, "y", y, x.type);
  return x.type;
}

}  // namespace kw
