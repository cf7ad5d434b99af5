// Convolutions and their gradients on the device as on the CPU: every way that they can be computed, and where one hands over to another.
#include <array>
#include <string>
#include <vector>

#include "compare.h"

namespace kw::test {
namespace {

// Spatial lists have two or three numbers.
struct Case {
  std::string what;
  int64_t batch, in, out, groups;
  Shape size, kernel, stride, padding, dilation;
};

const std::vector<Case> kCases = {
    // what it is there for                     N  in  out  g   size    kernel  stride  padding dilation
    {"one of everything", 1, 1, 1, 1, {1, 1}, {1, 1}, {1, 1}, {0, 0}, {1, 1}},
    {"a stem", 2, 3, 8, 1, {9, 7}, {3, 3}, {2, 2}, {1, 1}, {1, 1}},
    {"odd channels", 1, 5, 67, 1, {5, 4}, {3, 3}, {1, 1}, {1, 1}, {1, 1}},
    {"pointwise", 3, 40, 72, 1, {5, 5}, {1, 1}, {1, 1}, {0, 0}, {1, 1}},
    {"pointwise with stride", 2, 16, 24, 1, {6, 5}, {1, 1}, {2, 2}, {0, 0}, {1, 1}},
    {"planes of several tiles", 1, 8, 64, 1, {9, 8}, {3, 3}, {1, 1}, {1, 1}, {1, 1}},
    {"stride and dilation with a common divisor", 1, 8, 16, 1, {9, 9}, {3, 3}, {2, 2}, {2, 2}, {2, 2}},
    {"stride beyond the kernel", 1, 8, 8, 1, {7, 8}, {2, 2}, {3, 3}, {0, 0}, {1, 1}},
    {"unequal axes", 2, 8, 8, 1, {6, 9}, {1, 5}, {1, 2}, {0, 2}, {1, 1}},
    {"a kernel mostly outside", 2, 16, 8, 1, {1, 1}, {3, 3}, {1, 1}, {1, 1}, {1, 1}},
    {"wide groups", 2, 16, 32, 2, {4, 4}, {3, 3}, {1, 1}, {1, 1}, {1, 1}},
    {"narrow groups", 2, 12, 18, 3, {5, 4}, {3, 3}, {2, 2}, {1, 1}, {1, 1}},
    {"depth-wise", 2, 24, 24, 24, {6, 5}, {3, 3}, {1, 1}, {1, 1}, {1, 1}},
    {"depth-wise with stride", 2, 16, 16, 16, {7, 9}, {3, 3}, {2, 2}, {1, 1}, {1, 1}},
    {"depth-wise of five", 1, 8, 8, 8, {7, 6}, {5, 5}, {1, 1}, {2, 2}, {1, 1}},
    {"depth-wise of seven, much padding", 1, 136, 136, 136, {4, 5}, {7, 7}, {1, 1}, {5, 5}, {1, 1}},
    {"depth-wise, dilated", 1, 16, 16, 16, {9, 8}, {3, 3}, {2, 2}, {2, 2}, {2, 2}},
    {"depth-wise, odd", 2, 5, 5, 5, {5, 5}, {3, 3}, {1, 1}, {1, 1}, {1, 1}},
    {"depth-wise, two outputs each", 1, 8, 16, 8, {4, 4}, {3, 3}, {1, 1}, {1, 1}, {1, 1}},
    {"a volume", 2, 8, 16, 1, {3, 4, 5}, {3, 3, 3}, {1, 2, 1}, {1, 1, 1}, {1, 1, 1}},
    {"a depth-wise volume", 1, 8, 8, 8, {3, 4, 3}, {3, 3, 3}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}},
    {"depth in parts", 1, 72, 16, 1, {5, 5}, {3, 3}, {1, 1}, {1, 1}, {1, 1}},
    {"backward, depth in parts", 2, 16, 72, 1, {5, 5}, {3, 3}, {1, 1}, {1, 1}, {1, 1}},
    {"positions in parts", 1, 8, 16, 1, {25, 24}, {1, 1}, {1, 1}, {0, 0}, {1, 1}},
    {"depth-wise strips in parts", 4, 8, 8, 8, {17, 16}, {3, 3}, {1, 1}, {1, 1}, {1, 1}},
    {"narrow groups in parts", 1, 4, 4, 2, {12, 12}, {3, 3}, {1, 1}, {1, 1}, {1, 1}},
    {"an odd volume", 1, 3, 5, 1, {2, 4, 3}, {1, 2, 3}, {1, 1, 2}, {0, 1, 1}, {1, 2, 1}},
};

nlohmann::json attributes(const Case& c) {
  return {{"stride", c.stride}, {"padding", c.padding}, {"dilation", c.dilation},
          {"groups", c.groups}, {"kernel", c.kernel},   {"inputSize", c.size}};
}

Shape shape_of(const Case& c, const Shape& size, int64_t channels) {
  Shape shape = {c.batch};
  shape.insert(shape.end(), size.begin(), size.end());
  shape.push_back(channels);
  return shape;
}

Shape shape_x(const Case& c) { return shape_of(c, c.size, c.in); }

Shape shape_y(const Case& c) {
  Shape size;
  for (size_t axis = 0; axis < c.size.size(); ++axis) {
    size.push_back((c.size[axis] + 2 * c.padding[axis] - (c.kernel[axis] - 1) * c.dilation[axis] - 1) / c.stride[axis] + 1);
  }
  return shape_of(c, size, c.out);
}

Shape shape_weight(const Case& c, bool samplewise) {
  Shape shape = {c.out};
  if (samplewise) shape.insert(shape.begin(), c.batch);
  shape.insert(shape.end(), c.kernel.begin(), c.kernel.end());
  shape.push_back(c.in / c.groups);
  return shape;
}

Floats values(const Shape& shape, unsigned seed) { return random_floats(size_of(shape), seed); }

// Sums in another order: whatever is rounded to bfloat16 before is the same number on the CPU and on the device (docs/ops.md).
constexpr double kTolerance = 1e-5;

Floats weights(const Shape& shape) { return values(shape, 2); }

// All passes of `c`, with all tensors at `offset` bytes in their buffers.
void check_passes(const Case& c, bool samplewise, DataType type, int64_t offset = 0) {
  INFO(c.what, std::string(samplewise ? ", sample-wise, " : ", static, "), std::string(name_of(type)), ", at offset ", offset);
  const std::string op = (samplewise ? "samplewise_conv" : "conv") + std::to_string(c.size.size()) + "d";
  const Shape x = shape_x(c), y = shape_y(c), weight = shape_weight(c, samplewise);
  const auto runner = [&](const std::string& pass) {
    OpRunner result(op + pass, attributes(c));
    result.at_offset(offset);
    return result;
  };
  OpRunner forward = runner("").input(x, values(x, 1), type).input(weight, weights(weight));
  check_on_gpu(OpRunner(forward).output(y, type), kTolerance);
  check_on_gpu(forward.input({c.out}, random_floats(c.out, 3)).output(y, type), kTolerance);
  check_on_gpu(runner("_backward_input").input(y, values(y, 4), type).input(weight, weights(weight)).output(x, type), kTolerance);
  check_on_gpu(runner("_backward_weight").input(x, values(x, 1), type).input(y, values(y, 4), type).output(weight), kTolerance);
}

TEST_CASE("static convolutions on the device") {
  for (const Case& c : kCases) {
    for (const DataType type : {DataType::float32, DataType::bfloat16}) check_passes(c, false, type);
  }
}

TEST_CASE("sample-wise convolutions on the device") {
  for (const Case& c : kCases) {
    for (const DataType type : {DataType::float32, DataType::bfloat16}) check_passes(c, true, type);
  }
}

TEST_CASE("convolutions of tensors that do not begin at a multiple of 16 bytes") {
  for (const Case& c : kCases) {
    for (const bool samplewise : {false, true}) {
      for (const DataType type : {DataType::float32, DataType::bfloat16}) check_passes(c, samplewise, type, 4);
    }
  }
}

TEST_CASE("convolutions with enough positions and channels for large tiles") {
  check_passes({"pointwise", 1, 128, 128, 1, {32, 32}, {1, 1}, {1, 1}, {0, 0}, {1, 1}}, false, DataType::bfloat16);
  check_passes({"with a border", 4, 8, 128, 1, {16, 17}, {3, 3}, {1, 1}, {1, 1}, {1, 1}}, false, DataType::bfloat16);
  check_passes({"sample-wise", 8, 128, 128, 1, {9, 12}, {1, 1}, {1, 1}, {0, 0}, {1, 1}}, true, DataType::bfloat16);
}

TEST_CASE("convolutions with more taps than shared memory has room for") {
  check_passes({"", 1, 1, 1, 1, {5, 3}, {110, 110}, {1, 1}, {54, 54}, {1, 1}}, false, DataType::float32);
}

TEST_CASE("a NaN reaches what is computed from it, and nothing else") {
  const Case c = {"", 1, 16, 16, 1, {5, 5}, {3, 3}, {1, 1}, {1, 1}, {1, 1}};
  for (const DataType type : {DataType::float32, DataType::bfloat16}) {
    Floats x = values(shape_x(c), 1);
    x[7] = NAN;
    OpRunner op("conv2d", attributes(c));
    op.input(shape_x(c), x, type).input(shape_weight(c, false), weights(shape_weight(c, false))).output(shape_y(c), type);
    const Floats y = check_on_gpu(op, kTolerance).floats();
    CHECK(std::isnan(y[0]));
    CHECK(std::isfinite(y.back()));
  }
}

// normalized_conv2d with every input, in any of the orders in which a factor and a shift can be rounded.
OpRunner normalized(const Case& c, DataType type, const std::string& activation, bool bias, bool residual) {
  nlohmann::json all = attributes(c);
  all["epsilon"] = 1e-3, all["activation"] = activation;
  OpRunner op("normalized_conv2d", all);
  const Shape weight = shape_weight(c, false);
  op.input(shape_x(c), values(shape_x(c), 1), type).input(weight, weights(weight));
  bias ? op.input({c.out}, random_floats(c.out, 3)) : op.no_input();
  op.input({c.out}, random_floats(c.out, 4, 1, 0.2f)).input({c.out}, random_floats(c.out, 5, 1));
  Floats variance = random_floats(c.out, 7);
  for (float& value : variance) value = 0.1f + value * value;
  op.input({c.out}, random_floats(c.out, 6)).input({c.out}, variance);
  if (residual) op.input(shape_y(c), values(shape_y(c), 8), type);
  return op;
}

TEST_CASE("normalized convolutions on the device") {
  for (const Case& c : kCases) {
    if (c.size.size() != 2) continue;
    for (const std::string activation : {"none", "relu", "relu6"}) {
      for (const bool residual : {false, true}) {
        INFO(c.what, ", ", activation, residual);
        const OpRunner op = normalized(c, DataType::float32, activation, residual, residual);
        check_on_gpu(OpRunner(op).output(shape_y(c)), 3 * kTolerance);  // a factor of up to 3
        if (residual) check_on_gpu(OpRunner(op).output_in_place(7), 3 * kTolerance);
        const OpRunner rounded = normalized(c, DataType::bfloat16, activation, true, residual);
        check_on_gpu(OpRunner(rounded).output(shape_y(c), DataType::bfloat16), 3 * kTolerance);
      }
    }
  }
  const Case c = {"", 2, 16, 8, 1, {5, 5}, {3, 3}, {1, 1}, {1, 1}, {1, 1}};
  check_refused_as_on_cpu(normalized(c, DataType::float32, "gelu", false, false).output(shape_y(c)));
}

TEST_CASE("convolutions that do not fit are refused as on the CPU") {
  const Case c = {"", 2, 16, 8, 1, {5, 5}, {3, 3}, {1, 1}, {1, 1}, {1, 1}};
  const auto refuse = [](const std::string& op, const Case& c, const Shape& first, const Shape& second, const Shape& out) {
    check_refused_as_on_cpu(OpRunner(op, attributes(c)).input(first, values(first, 1)).input(second, values(second, 2)).output(out));
  };
  refuse("conv2d", c, shape_x(c), {8, 3, 3, 15}, shape_y(c));
  refuse("conv2d", c, shape_x(c), {8, 3, 16}, shape_y(c));
  refuse("conv2d", c, shape_x(c), shape_weight(c, false), {2, 5, 4, 8});
  refuse("conv2d_backward_input", c, shape_y(c), {7, 3, 3, 16}, shape_x(c));
  refuse("conv2d_backward_weight", c, shape_x(c), shape_y(c), {8, 3, 3, 15});
  refuse("samplewise_conv2d", c, shape_x(c), {3, 8, 3, 3, 16}, shape_y(c));
  Case grouped = c;
  grouped.groups = 3;
  refuse("conv2d", grouped, shape_x(c), shape_weight(c, false), shape_y(c));
  check_refused_as_on_cpu(OpRunner("conv2d", attributes(c))
                              .input(shape_x(c), values(shape_x(c), 1))
                              .input(shape_weight(c, false), values(shape_weight(c, false), 2))
                              .input({7}, Floats(7))
                              .output(shape_y(c)));
}

}  // namespace
}  // namespace kw::test
