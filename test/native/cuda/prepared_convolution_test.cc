// cuda::Convolution as mixed convolutions use it: some samples at a time, weights in bfloat16 or with gaps between them, an epilogue with
// means, TF32.
#include "cuda/convolution/convolution.h"

#include "../convolution_reference.h"
#include "compare.h"
#include "cuda/convolution/convolution_methods.h"
#include "kernel_test.h"

namespace kw::test {
namespace {

template <class T>
using OnGpu = cuda::test::DeviceArray<T>;

// The device as the backend describes it, with a stream of these tests.
struct TestGpu : cuda::Device {
  explicit TestGpu(bool tf32 = false) : Device(cuda::describe_device(0, tf32)) {
    cuda::check(cudaStreamCreate(&stream), "making a stream");
  }
  ~TestGpu() { cudaStreamDestroy(stream); }
};

ConvolutionGeometry geometry_of(const Case& c, int64_t batch) {
  return {.batch = batch,
          .in_channels = c.in,
          .out_channels = c.out,
          .groups = c.groups,
          .size = {c.size, c.size},
          .out_size = {out_size(c), out_size(c)},
          .kernel = {c.kernel, c.kernel},
          .stride = {c.stride, c.stride},
          .padding = {c.padding, c.padding},
          .dilation = {c.dilation, c.dilation}};
}

// One of each way to compute it; the last has more positions than a tile or a block of strips.
const Case kRunCases[] = {{16, 24, 3, 6, 1, 1, 1, 1, {}}, {80, 16, 3, 4, 1, 1, 1, 1, {}},  {3, 5, 3, 5, 2, 1, 1, 1, {}},
                          {12, 18, 3, 5, 1, 1, 1, 3, {}}, {16, 16, 3, 7, 2, 1, 1, 16, {}}, {8, 8, 3, 9, 1, 1, 1, 8, {}},
                          {8, 8, 1, 11, 1, 0, 1, 1, {}},  {8, 8, 3, 40, 1, 1, 1, 8, {}}};

Floats stored_as(const Floats& values, DataType type) { return rounded(values, type); }

// Values in the device's memory as `type`.
std::vector<std::byte> bytes_of(const Floats& values, DataType type) {
  std::vector<std::byte> bytes(values.size() * static_cast<size_t>(element_bytes(type)));
  const std::vector<cpu::bfloat16> narrow(values.begin(), values.end());
  std::memcpy(bytes.data(), type == DataType::bfloat16 ? static_cast<const void*>(narrow.data()) : values.data(), bytes.size());
  return bytes;
}

Floats floats_of(const std::vector<std::byte>& bytes, DataType type) {
  Floats values(bytes.size() / static_cast<size_t>(element_bytes(type)));
  std::vector<cpu::bfloat16> narrow(values.size());
  std::memcpy(type == DataType::bfloat16 ? static_cast<void*>(narrow.data()) : values.data(), bytes.data(), bytes.size());
  if (type == DataType::bfloat16) values.assign(narrow.begin(), narrow.end());
  return values;
}

Floats on_cpu(const std::string& op, const Case& c, const Shape& a, const Floats& x, const Shape& b, const Floats& w, const Shape& out) {
  return OpRunner(op, attributes(c)).input(a, x).input(b, w).output(out).run_on(1).floats();
}

// A forward pass with everything that an epilogue can have, run in portions of `portion` samples.
struct Finished {
  std::vector<std::byte> y;
  Floats means;
};

struct ForwardInputs {
  Floats x, weight, bias, scale, shift, mean, variance, residual;
};

constexpr double kEpsilon = 1e-3;
constexpr int64_t kGap = 8;  // elements between one sample's weight and the next's

Finished run_forward(const TestGpu& gpu, const Case& c, const ForwardInputs& inputs, int64_t batch, DataType type, DataType weights,
                     int64_t portion) {
  const ConvolutionGeometry geometry = geometry_of(c, batch);
  const int64_t elements = geometry.weight_elements(), x_elements = geometry.sample_elements(), y_elements = geometry.out_sample_elements();
  Floats spread;
  for (int64_t b = 0; b < batch; ++b) {
    spread.insert(spread.end(), inputs.weight.begin() + b * elements, inputs.weight.begin() + (b + 1) * elements);
    spread.insert(spread.end(), kGap, NAN);
  }
  const OnGpu<std::byte> x(bytes_of(inputs.x, type)), weight(bytes_of(spread, weights)), residual(bytes_of(inputs.residual, type));
  const OnGpu<float> bias(inputs.bias), scale(inputs.scale), shift(inputs.shift), mean(inputs.mean), variance(inputs.variance);
  OnGpu<std::byte> y(static_cast<size_t>(batch * y_elements * element_bytes(type)));
  OnGpu<float> means(static_cast<size_t>(batch * c.out));
  const cuda::Convolution convolution(gpu, geometry, ConvolutionPass::forward,
                                      {.activations = type, .weights = weights, .activation = Activation::relu6, .gives_means = true});
  OnGpu<std::byte> scratch(std::max<size_t>(1, convolution.scratch_bytes(portion)));
  for (int64_t first = 0; first < batch; first += portion) {
    convolution.run({.samples = std::min(portion, batch - first),
                     .x = x.data() + first * x_elements * element_bytes(type),
                     .weight = weight.data() + first * (elements + kGap) * element_bytes(weights),
                     .weight_stride = elements + kGap,
                     .y = y.data() + first * y_elements * element_bytes(type),
                     .bias = bias.data(),
                     .normalization = {scale.data(), shift.data(), mean.data(), variance.data(), kEpsilon},
                     .residual = residual.data() + first * y_elements * element_bytes(type),
                     .means = means.data() + first * c.out},
                    scratch.data());
  }
  return {y.values(), means.values()};
}

TEST_CASE("a prepared convolution gives the same bits in portions, and an epilogue's values and means") {
  constexpr int64_t kBatch = 3;
  TestGpu gpu;
  gpu.l2_bytes = 1;  // weights are rounded sample by sample
  for (const Case& c : kRunCases) {
    const ConvolutionGeometry geometry = geometry_of(c, kBatch);
    const int64_t y_elements = geometry.out_sample_elements(), positions = y_elements / c.out;
    for (const DataType type : {DataType::float32, DataType::bfloat16}) {
      ForwardInputs inputs = {stored_as(random_floats(kBatch * geometry.sample_elements(), 1), type),
                              stored_as(random_floats(kBatch * geometry.weight_elements(), 2), type),
                              random_floats(c.out, 3),
                              random_floats(c.out, 4, 1, 0.2f),
                              random_floats(c.out, 5, 1),
                              random_floats(c.out, 6),
                              random_floats(c.out, 7),
                              stored_as(random_floats(kBatch * y_elements, 8), type)};
      for (float& value : inputs.variance) value = 0.5f + value * value;
      Floats y = on_cpu("samplewise_conv2d", c, {kBatch, c.size, c.size, c.in}, inputs.x,
                        {kBatch, c.out, c.kernel, c.kernel, c.in / c.groups}, inputs.weight, {kBatch, out_size(c), out_size(c), c.out});
      Floats means(static_cast<size_t>(kBatch * c.out));
      for (size_t i = 0; i < y.size(); ++i) {
        const size_t o = i % static_cast<size_t>(c.out);
        const double slope = inputs.scale[o] / std::sqrt(inputs.variance[o] + kEpsilon);
        const double value = (double{y[i]} + inputs.bias[o] - inputs.mean[o]) * slope + inputs.shift[o] + inputs.residual[i];
        y[i] = static_cast<float>(std::clamp(value, 0.0, 6.0));
        means[i / static_cast<size_t>(y_elements) * static_cast<size_t>(c.out) + o] += y[i] / static_cast<float>(positions);
      }
      for (const DataType weights : {DataType::float32, DataType::bfloat16}) {
        if (type == DataType::float32 && weights != type) continue;
        INFO(c.in, " -> ", c.out, ", size ", c.size, ", groups ", c.groups, ", ", std::string(name_of(type)), ", weights ",
             std::string(name_of(weights)));
        const Finished whole = run_forward(gpu, c, inputs, kBatch, type, weights, kBatch);
        check_values("y", floats_of(whole.y, type), stored_as(y, type), type, 1e-5);
        check_values("means", whole.means, means, DataType::float32, type == DataType::float32 ? 1e-5 : 1e-3);
        for (const int64_t portion : {1, 2}) {
          const Finished parts = run_forward(gpu, c, inputs, kBatch, type, weights, portion);
          CHECK(parts.y == whole.y);
          CHECK(parts.means == whole.means);
        }
      }
    }
  }
}

TEST_CASE("a prepared convolution gives the weight's gradient in bfloat16, with gaps") {
  constexpr int64_t kBatch = 2;
  const TestGpu gpu;
  for (const Case& c : kRunCases) {
    INFO(c.in, " -> ", c.out, ", size ", c.size, ", groups ", c.groups);
    const ConvolutionGeometry geometry = geometry_of(c, kBatch);
    const int64_t elements = geometry.weight_elements(), stride = elements + kGap;
    const Floats x_values = stored_as(random_floats(kBatch * geometry.sample_elements(), 1), DataType::bfloat16);
    const Floats dy_values = stored_as(random_floats(kBatch * geometry.out_sample_elements(), 2), DataType::bfloat16);
    const OnGpu<std::byte> x(bytes_of(x_values, DataType::bfloat16)), dy(bytes_of(dy_values, DataType::bfloat16));
    OnGpu<std::byte> dweight(bytes_of(Floats(static_cast<size_t>(kBatch * stride), 7), DataType::bfloat16));
    const cuda::Convolution convolution(gpu, geometry, ConvolutionPass::backward_weight,
                                        {.activations = DataType::bfloat16, .weights = DataType::bfloat16});
    OnGpu<std::byte> scratch(std::max<size_t>(1, convolution.scratch_bytes()));
    convolution.run({.samples = kBatch, .x = x.data(), .weight = dweight.data(), .weight_stride = stride, .y = dy.data()}, scratch.data());
    const Floats expected =
        on_cpu("samplewise_conv2d_backward_weight", c, {kBatch, c.size, c.size, c.in}, x_values, {kBatch, out_size(c), out_size(c), c.out},
               dy_values, {kBatch, c.out, c.kernel, c.kernel, c.in / c.groups});
    const Floats actual = floats_of(dweight.values(), DataType::bfloat16);
    for (int64_t b = 0; b < kBatch; ++b) {
      const auto sample = [&](const Floats& values, int64_t first, int64_t count) {
        return Floats(values.begin() + first, values.begin() + first + count);
      };
      check_values("dweight", sample(actual, b * stride, elements), stored_as(sample(expected, b * elements, elements), DataType::bfloat16),
                   DataType::bfloat16, 1e-5);
      CHECK(sample(actual, b * stride + elements, kGap) == Floats(kGap, 7));
    }
  }
}

TEST_CASE("convolutions in TF32, where the GPU is asked to") {
  constexpr int64_t kBatch = 2;
  for (const Case& c : {Case{16, 24, 3, 6, 1, 1, 1, 1, {}}, Case{5, 7, 3, 6, 2, 1, 1, 1, {}}}) {
    const ConvolutionGeometry geometry = geometry_of(c, kBatch);
    const Floats x_values = random_floats(kBatch * geometry.sample_elements(), 1), w_values = random_floats(geometry.weight_elements(), 2),
                 dy_values = random_floats(kBatch * geometry.out_sample_elements(), 3);
    const Shape x_shape = {kBatch, c.size, c.size, c.in}, y_shape = {kBatch, out_size(c), out_size(c), c.out},
                w_shape = {c.out, c.kernel, c.kernel, c.in / c.groups};
    const auto check_pass = [&](ConvolutionPass pass, const Floats& expected) {
      for (const bool tf32 : {false, true}) {
        INFO(c.in, " -> ", c.out, ", pass ", static_cast<int>(pass), ", TF32 ", tf32);
        const TestGpu gpu(tf32);
        OnGpu<float> x(x_values), weight(w_values), dy(dy_values);
        const cuda::Convolution convolution(gpu, geometry, pass, {.shares_weight = true});
        OnGpu<std::byte> scratch(std::max<size_t>(1, convolution.scratch_bytes()));
        convolution.run({.samples = kBatch, .x = x.data(), .weight = weight.data(), .weight_stride = 0, .y = dy.data()}, scratch.data());
        const OnGpu<float>& result = pass == ConvolutionPass::forward ? dy : pass == ConvolutionPass::backward_input ? x : weight;
        const Floats actual = result.values();
        check_values("the result", actual, expected, DataType::float32, tf32 ? 5e-3 : 1e-5);
        double most = 0;
        for (size_t i = 0; i < actual.size(); ++i) most = std::max(most, std::fabs(double{actual[i]} - expected[i]));
        CHECK((most > 1e-4) == tf32);
      }
    };
    check_pass(ConvolutionPass::forward, on_cpu("conv2d", c, x_shape, x_values, w_shape, w_values, y_shape));
    check_pass(ConvolutionPass::backward_input, on_cpu("conv2d_backward_input", c, y_shape, dy_values, w_shape, w_values, x_shape));
    check_pass(ConvolutionPass::backward_weight, on_cpu("conv2d_backward_weight", c, x_shape, x_values, y_shape, dy_values, w_shape));
  }
}

TEST_CASE("a convolution that is too large for a GPU is refused") {
  const TestGpu gpu;
  const Case c = {1 << 15, 1, 1, 256, 1, 0, 1, 1, {}};
  CHECK_THROWS_WITH_AS(
      cuda::Convolution(gpu, geometry_of(c, 1), ConvolutionPass::forward, {}),
      "A convolution on a GPU takes samples and weights of less than 2^31 elements, and here are 2147483648: use smaller images", Error);
  CHECK_THROWS_WITH_AS(
      cuda::row_of_blocks(int64_t{1} << 31),
      "A convolution of this size takes 2147483648 blocks, and a GPU starts at most 2147483647: use a smaller batch or image", Error);
}

#ifdef KW_EMULATOR  // for nvcc the operator is the device's alone
TEST_CASE("a number is divided by a product and a shift") {
  for (const int divisor : {1, 2, 3, 5, 7, 49, 64, 1000, 65535, 2147483647}) {
    const cuda::device::Divider divide(divisor);
    for (const int number : {0, 1, divisor - 1, divisor, 2 * (divisor / 2), 12345, 2147483646, 2147483647})
      CHECK(divide(number) == number / divisor);
  }
}
#endif

}  // namespace
}  // namespace kw::test
