// Mixed convolutions and their gradients on the device as on the CPU, whole and in chunks of samples.
#include "compare.h"
#include "cuda/mixing/fused_mixed_convolution.h"
#include "cuda/mixing/sample_chunks.h"

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
    {.name = "odd channels, dilated",
     .samples = 2,
     .size = {7, 7},
     .weight = {5, 3, 3, 3},
     .cells = {4, 5, 1, 1, 3},
     .padding = 2,
     .dilation = 2},
    {.name = "groups", .samples = 3, .size = {4, 4}, .weight = {16, 3, 3, 8}, .cells = {5, 8, 3, 3, 8}, .padding = 1, .groups = 2},
    {.name = "depth-wise of whole kernels",
     .samples = 3,
     .size = {6, 6},
     .weight = {24, 3, 3, 1},
     .cells = {4, 24, 3, 3, 1},
     .padding = 1,
     .groups = 24},
    {.name = "depth-wise of positions",
     .samples = 2,
     .size = {6, 6},
     .weight = {67, 3, 3, 1},
     .cells = {3, 67, 1, 1, 1},
     .stride = 2,
     .padding = 1,
     .groups = 67},
    {.name = "more mixtures than one block sums", .samples = 5, .size = {3, 2}, .weight = {64, 1, 1, 64}, .cells = {3, 8, 1, 1, 8}},
    {.name = "one sample, one position", .samples = 1, .size = {1, 1}, .weight = {16, 1, 1, 8}, .cells = {3, 16, 1, 1, 8}},
};

// Sums in another order. With bfloat16 the sum behind a mixed weight, or behind the gradient of one, may lie at the border between two
// numbers: then that weight is the next one, 2^-7 of itself away, among those that make a result.
double tolerance(DataType type) { return type == DataType::bfloat16 ? 2e-3 : 2e-5; }

constexpr DataType kTypes[] = {DataType::float32, DataType::bfloat16};

void check_passes(const Case& c, DataType type, Device& device) {
  CAPTURE(c.name);
  CAPTURE(name_of(type));
  const Floats x = c.random_x(type), attention = c.random_attention(), cells = c.random_cells(), dy = c.random_dy(type);
  const auto op = [&](const char* name) { return OpRunner(name, c.attributes()); };
  check_on_gpu(op("mixed_conv2d").input(c.x(), x, type).input(c.attention(), attention).input(c.cells, cells).output(c.y(), type),
               tolerance(type), device);
  check_on_gpu(
      op("mixed_conv2d_backward_input").input(c.y(), dy, type).input(c.attention(), attention).input(c.cells, cells).output(c.x(), type),
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
  for (Case c : {kCases[1], kCases[2], kCases[5], kCases[7]}) {
    c.samples = 9;  // the multiprocessors are busy with 4
    emulator::options().cache_bytes = 1;
    Device device("test", cuda::open_backend({}));
    for (const DataType type : kTypes) check_passes(c, type, device);
  }
  emulator::options().cache_bytes = before;
}
#endif

TEST_CASE("how many samples a chunk has") {
  cuda::Device device;
  device.l2_bytes = 48 << 20;
  device.multiprocessors = 132;
  const int64_t megabyte = 1 << 20;
  CHECK(cuda::samples_of_chunk(device, 100, megabyte, 132, 0) == 12);                  // of weights in half of the cache, twice; 9 chunks
  CHECK(cuda::samples_of_chunk(device, 100, megabyte / 64, 132, 0) == 100);            // all of them fit
  CHECK(cuda::samples_of_chunk(device, 100, 100 * megabyte, 200, 0) == 1);             // not even one does
  CHECK(cuda::samples_of_chunk(device, 100, 10 * megabyte, 8, 0) == 17);               // enough to fill the device
  CHECK(cuda::samples_of_chunk(device, 100, 10 * megabyte, 1, 0) == 100);              // nothing is
  CHECK(cuda::samples_of_chunk(device, 100, 3 * megabyte, 200, 90 * megabyte) == 20);  // what is read again costs half of three passes
  CHECK(cuda::samples_of_chunk(device, 100, 3 * megabyte, 200, 20 * megabyte) == 4);   // and nothing where it stays in the cache
}

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
  for (const Case& c : {kCases[0], kCases[1], kCases[5], kCases[8]}) {
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

// Served by the kernel that mixes and convolves at once, with as many output channels in a block.
struct FusedCase {
  Case c;
  int channels;
};

const FusedCase kFusedCases[] = {
    {{.name = "7x7", .samples = 9, .size = {7, 7}, .weight = {64, 3, 3, 32}, .cells = {20, 64, 1, 1, 32}, .padding = 1}, 32},
    {{.name = "cells of 16 channels", .samples = 10, .size = {5, 6}, .weight = {32, 3, 3, 32}, .cells = {33, 16, 1, 1, 16}, .padding = 1},
     16},
    {{.name = "stride 2", .samples = 9, .size = {14, 14}, .weight = {32, 3, 3, 16}, .cells = {16, 32, 1, 1, 16}, .stride = 2, .padding = 1},
     16},
    {{.name = "dilated", .samples = 11, .size = {7, 7}, .weight = {64, 3, 3, 16}, .cells = {5, 64, 1, 1, 16}, .padding = 2, .dilation = 2},
     32},
    {{.name = "pointwise, stride 2", .samples = 9, .size = {13, 13}, .weight = {64, 1, 1, 64}, .cells = {6, 32, 1, 1, 16}, .stride = 2},
     32},
    {{.name = "9x1", .samples = 16, .size = {9, 3}, .weight = {64, 9, 1, 16}, .cells = {3, 32, 1, 1, 16}}, 32},
};

TEST_CASE("mixing and convolving at once on the device") {
  for (const auto& [c, channels] : kFusedCases) {
    CAPTURE(c.name);
    check_on_gpu(normalized(c, DataType::bfloat16, "none", true).output(c.y(), DataType::bfloat16), tolerance(DataType::bfloat16));
    const Floats residual = rounded(random_floats(size_of(c.y()), 11), DataType::bfloat16);
    const Shape means = {c.samples, c.weight[0]};
    OpRunner op = normalized(c, DataType::bfloat16, "relu6", false);
    check_on_gpu(op.input(c.y(), residual, DataType::bfloat16).output(c.y(), DataType::bfloat16).output(means),
                 tolerance(DataType::bfloat16));
  }
  const Case& c = kFusedCases[0].c;
  for (const int64_t offset : {0, 4}) {  // which is aligned, and which is not and goes the other way
    OpRunner op("mixed_conv2d", c.attributes());
    op.at_offset(offset).input(c.x(), c.random_x(DataType::bfloat16), DataType::bfloat16);
    op.input(c.attention(), c.random_attention()).input(c.cells, c.random_cells()).input({c.weight[0]}, random_floats(c.weight[0], 6));
    check_on_gpu(op.output(c.y(), DataType::bfloat16), tolerance(DataType::bfloat16));
  }
}

// A device as the emulator's, of which only these count.
cuda::Device small_device(size_t shared_memory) {
  cuda::Device device;
  device.multiprocessors = 4;
  device.shared_memory = shared_memory;
  return device;
}

int fused_channels(const Case& c, const cuda::Device& device) {
  const ConvolutionGeometry geometry = {.batch = c.samples,
                                        .in_channels = c.x().back(),
                                        .out_channels = c.weight[0],
                                        .groups = c.groups,
                                        .size = c.size,
                                        .out_size = {c.out_size(0), c.out_size(1)},
                                        .kernel = {c.weight[1], c.weight[2]},
                                        .stride = {c.stride, c.stride},
                                        .padding = {c.padding, c.padding},
                                        .dilation = {c.dilation, c.dilation}};
  const CellGrid grid = {c.cells[0], c.cells[1], c.cells[2], c.cells[3], c.cells[4], c.weight[0], c.weight[1], c.weight[2], c.weight[3]};
  return cuda::FusedMixedConvolution::choose_channels(device, geometry, grid, {c.samples, true});
}

TEST_CASE("which mixed convolutions are done in one kernel") {
  const cuda::Device h100 = small_device(227 * 1024), a100 = small_device(163 * 1024);
  for (const auto& [c, channels] : kFusedCases) {
    CAPTURE(c.name);
    CHECK(fused_channels(c, h100) == channels);
  }
  Case stage = {.name = "last stage of ResNet-50",
                .samples = 100,
                .size = {7, 7},
                .weight = {512, 3, 3, 512},
                .cells = {47, 512, 1, 1, 512},
                .padding = 1};
  CHECK(fused_channels(stage, h100) == 32);
  CHECK(fused_channels(stage, a100) == 16);  // less shared memory
  stage.cells[0] = 552;                      // more cells than pay
  CHECK(fused_channels(stage, h100) == 0);
  stage.cells[0] = 47, stage.samples = 8, stage.weight[0] = 32, stage.cells[1] = 32;  // too few blocks
  CHECK(fused_channels(stage, h100) == 0);
  CHECK(fused_channels({.name = "pointwise", .samples = 100, .size = {7, 7}, .weight = {512, 1, 1, 512}, .cells = {47, 512, 1, 1, 512}},
                       h100) == 0);
  CHECK(fused_channels(
            {.name = "14x14", .samples = 100, .size = {14, 14}, .weight = {256, 3, 3, 256}, .cells = {47, 256, 1, 1, 256}, .padding = 1},
            h100) == 0);
  for (const Case& c : kCases) CHECK(fused_channels(c, h100) == 0);
}

TEST_CASE("what is no mixed convolution is refused on the device") {
  const Case& c = kCases[0];
  const Floats x = c.random_x(DataType::float32), attention = c.random_attention(), cells = c.random_cells(),
               dy = c.random_dy(DataType::float32);
  nlohmann::json attributes = c.attributes();
  attributes["outChannels"] = 24;
  check_refused_as_on_cpu(
      OpRunner("mixed_conv2d", attributes).input(c.x(), x).input(c.attention(), attention).input(c.cells, cells).output(c.y()));
  const Shape odd = {6, 8, 1, 1, 7};
  check_refused_as_on_cpu(
      OpRunner("mixed_conv2d", c.attributes()).input(c.x(), x).input(c.attention(), attention).input(odd, Floats(336)).output(c.y()));
  check_refused_as_on_cpu(
      OpRunner("mixed_conv2d", c.attributes()).input(c.x(), x).input({5, 2, 6}, Floats(60)).input(c.cells, cells).output(c.y()));
  check_refused_as_on_cpu(OpRunner("mixed_conv2d", c.attributes())
                              .input(c.x(), x)
                              .input(c.attention(), attention)
                              .input(c.cells, cells)
                              .input({3}, Floats(3))
                              .output(c.y()));
  OpRunner backward("mixed_conv2d_backward_mixing", c.attributes());
  backward.input(c.x(), x).input(c.y(), dy).input(c.attention(), attention).input(c.cells, cells).input(c.cells, cells);
  check_refused_as_on_cpu(backward.output(c.attention()).output(c.cells));
}

}  // namespace
}  // namespace kw::test
