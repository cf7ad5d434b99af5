// Which steps NVIDIA's libraries compute, and that it is ours where they do not serve. Every other test of a convolution or product runs
// with them too (compare.h).
#ifdef KW_STAND_INS

#include "compare.h"

namespace kw::test {
namespace {

struct Case {
  int64_t batch = 2, in = 16, out = 24, groups = 1, size = 6, kernel = 3, stride = 1, padding = 1;

  int64_t out_size() const { return (size + 2 * padding - kernel) / stride + 1; }
  Shape x() const { return {batch, size, size, in}; }
  Shape y() const { return {batch, out_size(), out_size(), out}; }
  Shape weight(bool samplewise) const {
    Shape shape = {out, kernel, kernel, in / groups};
    if (samplewise) shape.insert(shape.begin(), batch);
    return shape;
  }
  nlohmann::json attributes() const {
    return {{"stride", {stride, stride}}, {"padding", {padding, padding}}, {"dilation", {1, 1}},
            {"groups", groups},           {"kernel", {kernel, kernel}},    {"inputSize", {size, size}}};
  }
};

Floats values(const Shape& shape, unsigned seed) { return rounded(random_floats(size_of(shape), seed), DataType::bfloat16); }

OpRunner forward(const Case& c, DataType type, bool samplewise = false, bool bias = false, int64_t offset = 0) {
  OpRunner op(samplewise ? "samplewise_conv2d" : "conv2d", c.attributes());
  op.at_offset(offset).input(c.x(), values(c.x(), 1), type).input(c.weight(samplewise), values(c.weight(samplewise), 2));
  if (bias) op.input({c.out}, random_floats(c.out, 3));
  return op.output(c.y(), type);
}

OpRunner normalized(const Case& c, const std::string& activation, bool in_place) {
  nlohmann::json attributes = c.attributes();
  attributes["epsilon"] = 1e-3, attributes["activation"] = activation;
  OpRunner op("normalized_conv2d", attributes);
  op.input(c.x(), values(c.x(), 1), DataType::bfloat16).input(c.weight(false), values(c.weight(false), 2)).no_input();
  op.input({c.out}, random_floats(c.out, 4, 1, 0.2f)).input({c.out}, random_floats(c.out, 5)).input({c.out}, random_floats(c.out, 6));
  op.input({c.out}, Floats(static_cast<size_t>(c.out), 0.7f)).input(c.y(), values(c.y(), 8), DataType::bfloat16);
  return in_place ? op.output_in_place(7) : op.output(c.y(), DataType::bfloat16);
}

struct Counts {
  int convolutions, products;
  bool operator==(const Counts&) const = default;
};

constexpr Counts kOurs = {0, 0}, kCudnn = {2, 0}, kCublasLt = {0, 2};  // run, and recorded

// What of `op` the libraries computed. The result must be the CPU's in any case.
Counts served(const OpRunner& op, bool tf32 = false, bool refuses_to_run = false) {
  OpRunner expected = op, actual = op;
  expected.run_on(1);
  ServingLibraries libraries(tf32);
  stand_in_state().refuses_to_run = refuses_to_run;
  actual.run_on(libraries.device());
  check_tensors(actual, expected, op.step().op == "normalized_conv2d" ? 2e-2 : 1e-5);
  return {stand_in_state().convolutions, stand_in_state().products};
}

const DataType kBfloat16 = DataType::bfloat16, kFloat32 = DataType::float32;
const Case kPointwise = {.size = 5, .kernel = 1, .padding = 0};

TEST_CASE("libraries: cuDNN convolves where it has tensor cores, with a weight for all samples") {
  CHECK(served(forward({}, kBfloat16)) == kCudnn);
  CHECK(served(forward({}, kBfloat16, false, true)) == kCudnn);
  CHECK(served(forward({.stride = 2}, kBfloat16)) == kCudnn);
  CHECK(served(forward({}, kFloat32), true) == kCudnn);
  CHECK(served(forward({}, kFloat32)) == kOurs);
  CHECK(served(forward({}, kBfloat16, true)) == kOurs);
  CHECK(served(forward({.groups = 2}, kBfloat16)) == kOurs);
  CHECK(served(forward({}, kBfloat16, false, false, 4)) == kOurs);
}

TEST_CASE("libraries: cuDNN's gradients") {
  const Case c = {.stride = 2};
  OpRunner dx("conv2d_backward_input", c.attributes());
  dx.input(c.y(), values(c.y(), 1), kBfloat16).input(c.weight(false), values(c.weight(false), 2)).output(c.x(), kBfloat16);
  CHECK(served(dx) == kCudnn);
  OpRunner dweight("conv2d_backward_weight", c.attributes());
  dweight.input(c.x(), values(c.x(), 1), kBfloat16).input(c.y(), values(c.y(), 2), kBfloat16).output(c.weight(false));
  CHECK(served(dweight) == kCudnn);
}

TEST_CASE("libraries: what follows a convolution is one graph with it, unless the residual's memory is y's") {
  for (const std::string activation : {"none", "relu", "relu6"}) {
    CHECK(served(normalized({}, activation, false)) == kCudnn);
    CHECK(served(normalized({}, activation, true)) == kOurs);
  }
  CHECK(served(normalized(kPointwise, "relu", false)) == kCudnn);
}

TEST_CASE("libraries: products are cuBLASLt's, and a convolution that is one") {
  const auto matmul = [](int64_t offset) {
    OpRunner op("matmul", {{"transposeA", false}, {"transposeB", true}});
    op.at_offset(offset).input({5, 7}, random_floats(35, 1)).input({3, 7}, random_floats(21, 2)).input({3}, random_floats(3, 3));
    return op.output({5, 3});
  };
  CHECK(served(matmul(0)) == kCublasLt);
  CHECK(served(matmul(0), true) == kCublasLt);
  CHECK(served(matmul(4)) == kOurs);
  CHECK(served(forward(kPointwise, kFloat32, false, true)) == kCublasLt);
  CHECK(served(forward(kPointwise, kBfloat16)) == kCublasLt);
  CHECK(served(forward(kPointwise, kBfloat16, false, true)) == kCudnn);  // cuBLASLt adds no float32 bias to bfloat16
  CHECK(served(forward({.in = 12, .size = 5, .kernel = 1, .padding = 0}, kBfloat16)) == kCudnn);  // rows at odd addresses
}

TEST_CASE("libraries: each sample's product, where it has many rows") {
  for (const DataType type : {kFloat32, kBfloat16}) {
    Case c = {.batch = 3, .in = 8, .out = 16, .size = 14, .kernel = 1, .padding = 0};
    CHECK(served(forward(c, type, true)) == kCublasLt);
    OpRunner dx("samplewise_conv2d_backward_input", c.attributes());
    dx.input(c.y(), values(c.y(), 1), type).input(c.weight(true), values(c.weight(true), 2)).output(c.x(), type);
    CHECK(served(dx) == kCublasLt);
    OpRunner dweight("samplewise_conv2d_backward_weight", c.attributes());
    dweight.input(c.x(), values(c.x(), 1), type).input(c.y(), values(c.y(), 2), type).output(c.weight(true));
    CHECK(served(dweight) == kCublasLt);
    c.size = 13;
    CHECK(served(forward(c, type, true)) == kOurs);
  }
}

TEST_CASE("libraries: ours run where they refuse") {
  CHECK(served(forward({}, kBfloat16), false, true) == kOurs);
  CHECK(served(forward(kPointwise, kFloat32), false, true) == kOurs);
  CHECK(served(forward({.size = 14, .kernel = 1, .padding = 0}, kBfloat16, true), false, true) == kOurs);
}

}  // namespace
}  // namespace kw::test

#endif
