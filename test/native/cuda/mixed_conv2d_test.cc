// Mixed convolutions and their gradients on the device as on the CPU, whole and in chunks of samples.
#include "compare.h"

namespace kw::test {
namespace {

struct Case {
  std::string name;
  int64_t samples;
  Shape size;    // [H,W]
  Shape weight;  // [O,kh,kw,C/groups]
  Shape cells;   // [n,fe,keh,kew,ce]
  int64_t stride = 1, padding = 0, dilation = 1, groups = 1;

  int64_t mixtures() const { return size_of(weight) * cells[0] / size_of(cells); }
  int64_t out_size(int axis) const { return (size[axis] + 2 * padding - (weight[axis + 1] - 1) * dilation - 1) / stride + 1; }
  Shape x() const { return {samples, size[0], size[1], weight[3] * groups}; }
  Shape y() const { return {samples, out_size(0), out_size(1), weight[0]}; }
  Shape attention() const { return {samples, mixtures(), cells[0]}; }
  nlohmann::json attributes() const {
    return {{"stride", {stride, stride}},
            {"padding", {padding, padding}},
            {"dilation", {dilation, dilation}},
            {"groups", groups},
            {"outChannels", weight[0]},
            {"kernel", {weight[1], weight[2]}},
            {"inputSize", size},
            {"epsilon", 1e-5}};
  }
  Floats random_x(DataType type) const { return rounded(random_floats(size_of(x()), 1), type); }
  // Sums of products stay near 1.
  Floats random_attention() const { return random_floats(size_of(attention()), 2, 0, 1 / std::sqrt(static_cast<float>(cells[0]))); }
  Floats random_cells() const {
    return random_floats(size_of(cells), 3, 0, 1 / std::sqrt(static_cast<float>(weight[1] * weight[2] * weight[3])));
  }
  Floats random_dy(DataType type) const { return rounded(random_floats(size_of(y()), 4), type); }
};

const Case kCases[] = {
    {.name = "pointwise", .samples = 5, .size = {6, 5}, .weight = {16, 1, 1, 24}, .cells = {6, 8, 1, 1, 8}},
    {.name = "3x3", .samples = 3, .size = {5, 7}, .weight = {16, 3, 3, 8}, .cells = {9, 8, 1, 1, 8}, .padding = 1},
    {.name = "3x3, stride 2", .samples = 4, .size = {7, 6}, .weight = {8, 3, 3, 16}, .cells = {5, 8, 1, 1, 16}, .stride = 2, .padding = 1},
    {.name = "odd channels, dilated", .samples = 2, .size = {7, 7}, .weight = {5, 3, 3, 3}, .cells = {4, 5, 1, 1, 3}, .padding = 2, .dilation = 2},
    {.name = "groups", .samples = 3, .size = {4, 4}, .weight = {16, 3, 3, 8}, .cells = {5, 8, 3, 3, 8}, .padding = 1, .groups = 2},
    {.name = "depth-wise of whole kernels", .samples = 3, .size = {6, 6}, .weight = {24, 3, 3, 1}, .cells = {4, 24, 3, 3, 1}, .padding = 1, .groups = 24},
    {.name = "depth-wise of positions", .samples = 2, .size = {6, 6}, .weight = {67, 3, 3, 1}, .cells = {3, 67, 1, 1, 1}, .stride = 2, .padding = 1, .groups = 67},
    {.name = "one sample, one position", .samples = 1, .size = {1, 1}, .weight = {16, 1, 1, 8}, .cells = {3, 16, 1, 1, 8}},
};

double tolerance(DataType type) { return type == DataType::bfloat16 ? 2e-2 : 2e-5; }

constexpr DataType kTypes[] = {DataType::float32, DataType::bfloat16};

void check_passes(const Case& c, DataType type, Device& device) {
  CAPTURE(c.name);
  CAPTURE(name_of(type));
  const Floats x = c.random_x(type), attention = c.random_attention(), cells = c.random_cells(), dy = c.random_dy(type);
  const auto op = [&](const char* name) { return OpRunner(name, c.attributes()); };
  check_on_gpu(op("mixed_conv2d").input(c.x(), x, type).input(c.attention(), attention).input(c.cells, cells).output(c.y(), type), tolerance(type),
               device);
  check_on_gpu(op("mixed_conv2d_backward_input").input(c.y(), dy, type).input(c.attention(), attention).input(c.cells, cells).output(c.x(), type),
               tolerance(type), device);
  OpRunner backward = op("mixed_conv2d_backward_mixing");
  backward.input(c.x(), x, type).input(c.y(), dy, type).input(c.attention(), attention).input(c.cells, cells);
  check_on_gpu(OpRunner(backward).output(c.attention()).output(c.cells), tolerance(type), device);
  backward.input(c.cells, random_floats(size_of(c.cells), 5));
  check_on_gpu(OpRunner(backward).output(c.attention()).output_in_place(4), tolerance(type), device);
}

TEST_CASE("mixed convolutions on the device") {
  for (const Case& c : kCases) {
    for (const DataType type : kTypes) check_passes(c, type, gpu());
  }
}

TEST_CASE("mixed convolutions on the device in TF32") {
  Device device("test", cuda::open_backend({.tf32 = true}));
  const Case& c = kCases[1];
  const Floats x = c.random_x(DataType::float32);
  OpRunner op("mixed_conv2d", c.attributes());
  check_on_gpu(op.input(c.x(), x).input(c.attention(), c.random_attention()).input(c.cells, c.random_cells()).output(c.y()), 5e-3, device);
}

#ifdef KW_EMULATOR
TEST_CASE("mixed convolutions on a device whose cache holds the weights of few samples") {
  const int before = emulator::options().cache_bytes;
  for (const Case& c : {kCases[1], kCases[2], kCases[5]}) {
    emulator::options().cache_bytes = static_cast<int>(4 * 2 * size_of(c.weight) * 4);
    Device device("test", cuda::open_backend({}));
    for (const DataType type : kTypes) check_passes(c, type, device);
  }
  emulator::options().cache_bytes = before;
}
#endif

TEST_CASE("mixed_conv2d with a bias on the device") {
  const Case& c = kCases[1];
  for (const DataType type : kTypes) {
    OpRunner op("mixed_conv2d", c.attributes());
    op.input(c.x(), c.random_x(type), type).input(c.attention(), c.random_attention()).input(c.cells, c.random_cells());
    check_on_gpu(op.input({c.weight[0]}, random_floats(c.weight[0], 6)).output(c.y(), type), tolerance(type));
  }
}

OpRunner normalized(const Case& c, DataType type, const char* activation, bool has_bias) {
  nlohmann::json attributes = c.attributes();
  attributes["activation"] = activation;
  attributes["means"] = true;
  OpRunner op("normalized_mixed_conv2d", attributes);
  op.input(c.x(), c.random_x(type), type).input(c.attention(), c.random_attention()).input(c.cells, c.random_cells());
  const Shape channels = {c.weight[0]};
  if (has_bias) {
    op.input(channels, random_floats(c.weight[0], 6));
  } else {
    op.no_input();
  }
  Floats variance = random_floats(c.weight[0], 10);
  for (float& value : variance) value = 0.5f + value * value;
  return op.input(channels, random_floats(c.weight[0], 7))
      .input(channels, random_floats(c.weight[0], 8))
      .input(channels, random_floats(c.weight[0], 9))
      .input(channels, variance);
}

TEST_CASE("normalized_mixed_conv2d on the device") {
  for (const Case& c : {kCases[0], kCases[1], kCases[5], kCases[7]}) {
    CAPTURE(c.name);
    for (const DataType type : kTypes) {
      const Floats residual = rounded(random_floats(size_of(c.y()), 11), type);
      const Shape means = {c.samples, c.weight[0]};
      const double allowed = 3 * tolerance(type);  // the normalization divides by deviations down to 0.7
      check_on_gpu(normalized(c, type, "none", true).output(c.y(), type), allowed);
      check_on_gpu(normalized(c, type, "relu6", false).output(c.y(), type).output(means), allowed);
      check_on_gpu(normalized(c, type, "relu", true).input(c.y(), residual, type).output(c.y(), type).output(means), allowed);
    }
  }
}

TEST_CASE("what is no mixed convolution is refused on the device") {
  const Case& c = kCases[0];
  const Floats x = c.random_x(DataType::float32), attention = c.random_attention(), cells = c.random_cells(), dy = c.random_dy(DataType::float32);
  nlohmann::json attributes = c.attributes();
  attributes["outChannels"] = 24;
  check_refused_as_on_cpu(OpRunner("mixed_conv2d", attributes).input(c.x(), x).input(c.attention(), attention).input(c.cells, cells).output(c.y()));
  const Shape odd = {6, 8, 1, 1, 7};
  check_refused_as_on_cpu(
      OpRunner("mixed_conv2d", c.attributes()).input(c.x(), x).input(c.attention(), attention).input(odd, Floats(336)).output(c.y()));
  check_refused_as_on_cpu(
      OpRunner("mixed_conv2d", c.attributes()).input(c.x(), x).input({5, 2, 6}, Floats(60)).input(c.cells, cells).output(c.y()));
  check_refused_as_on_cpu(
      OpRunner("mixed_conv2d", c.attributes()).input(c.x(), x).input(c.attention(), attention).input(c.cells, cells).input({3}, Floats(3)).output(c.y()));
  OpRunner backward("mixed_conv2d_backward_mixing", c.attributes());
  backward.input(c.x(), x).input(c.y(), dy).input(c.attention(), attention).input(c.cells, cells).input(c.cells, cells);
  check_refused_as_on_cpu(backward.output(c.attention()).output(c.cells));
}

}  // namespace
}  // namespace kw::test
