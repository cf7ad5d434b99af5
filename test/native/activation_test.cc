// relu6, gelu, sigmoid and the exponential that they rest on, against the library's double functions, with bounds on the relative error.
#include "cpu/exponential.h"
#include "op_runner.h"

namespace kw::test {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInfinity = std::numeric_limits<float>::infinity();

// Evenly spaced from low to high, in a number that no vector width divides and that several threads share.
Floats spaced(float low, float high) {
  Floats values(60001);
  for (size_t i = 0; i < values.size(); ++i) values[i] = low + (high - low) * static_cast<float>(i) / 60000.0f;
  return values;
}

Floats unary(const std::string& op, const Floats& x) {
  const Shape shape = {static_cast<int64_t>(x.size())};
  const Floats y = OpRunner(op).input(shape, x).output(shape).run().floats();
  const Floats in_place = OpRunner(op).input(shape, x).output_in_place(0).run().floats();
  CHECK(std::memcmp(y.data(), in_place.data(), y.size() * sizeof(float)) == 0);
  return y;
}

// The gradient for the given dy; `kept` is the op's second input.
Floats backward(const std::string& op, const Floats& dy, const Floats& kept) {
  const Shape shape = {static_cast<int64_t>(dy.size())};
  return OpRunner(op).input(shape, dy).input(shape, kept).output_in_place(0).run().floats();
}

template <class Function>
double largest_relative_error(const Floats& x, const Floats& y, const Function& function) {
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double expected = function(static_cast<double>(x[i]));
    const double error = std::fabs(y[i] - expected) / std::fabs(expected);
    if (expected != 0 && !(error <= worst)) worst = error;
  }
  return worst;
}

double cumulative(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }

TEST_CASE("exponential: accuracy, ends of the range, NaN") {
  const Floats x = spaced(-87.3f, 88.3f);
  Floats y;
  for (const float value : x) y.push_back(cpu::exponential(value));
  CHECK(largest_relative_error(x, y, [](double value) { return std::exp(value); }) < 2.5e-7);
  CHECK(cpu::exponential(0) == 1.0f);
  CHECK(cpu::exponential(-87.4f) == 0.0f);
  CHECK(cpu::exponential(-kInfinity) == 0.0f);
  CHECK(cpu::exponential(88.4f) == kInfinity);
  CHECK(cpu::exponential(kInfinity) == kInfinity);
  CHECK(std::isnan(cpu::exponential(kNan)));
  CHECK(cpu::exponential(2, 0.01f) == doctest::Approx(std::exp(2.01)).epsilon(2.5e-7));
}

TEST_CASE("gelu keeps its relative accuracy in both tails") {
  const Floats x = spaced(-13, 13);
  CHECK(largest_relative_error(x, unary("gelu", x), [](double value) { return value * cumulative(value); }) < 1e-6);
  const Floats dy = random_floats(static_cast<int64_t>(x.size()), 1);
  Doubles expected;
  for (size_t i = 0; i < x.size(); ++i) {
    const double density = std::exp(-0.5 * x[i] * static_cast<double>(x[i])) / std::sqrt(2 * std::acos(-1.0));
    expected.push_back(dy[i] * (cumulative(x[i]) + x[i] * density));
  }
  check_close(backward("gelu_backward", dy, x), expected, 1e-6);
  const Floats ends = unary("gelu", {-100, 100, 0, kInfinity, kNan});
  CHECK(ends[0] == 0.0f);
  CHECK(ends[1] == 100.0f);
  CHECK(ends[2] == 0.0f);
  CHECK(ends[3] == kInfinity);
  CHECK(std::isnan(ends[4]));
}

TEST_CASE("sigmoid keeps its relative accuracy, and ends at 0 and 1") {
  const Floats x = spaced(-80, 80);
  const Floats y = unary("sigmoid", x);
  CHECK(largest_relative_error(x, y, [](double value) { return 1 / (1 + std::exp(-value)); }) < 1e-6);
  const Floats dy = random_floats(static_cast<int64_t>(x.size()), 2);
  Doubles expected;
  for (size_t i = 0; i < x.size(); ++i) expected.push_back(dy[i] * static_cast<double>(y[i]) * (1 - static_cast<double>(y[i])));
  check_close(backward("sigmoid_backward", dy, y), expected, 1e-6);
  const Floats ends = unary("sigmoid", {-1000, 1000, 0, kNan});
  CHECK(ends[0] == 0.0f);
  CHECK(ends[1] == 1.0f);
  CHECK(ends[2] == 0.5f);
  CHECK(std::isnan(ends[3]));
}

TEST_CASE("relu6: values, gradient strictly between its limits, NaN") {
  const Floats x = spaced(-3, 9), dy = random_floats(60001, 3);
  Floats expected, expected_gradient;
  for (size_t i = 0; i < x.size(); ++i) {
    expected.push_back(std::clamp(x[i], 0.0f, 6.0f));
    expected_gradient.push_back(x[i] > 0 && x[i] < 6 ? dy[i] : 0.0f);
  }
  const Floats y = unary("relu6", x);
  CHECK(y == expected);
  CHECK(backward("relu6_backward", dy, y) == expected_gradient);
  CHECK(std::isnan(unary("relu6", {kNan})[0]));
}

TEST_CASE("activations refuse tensors of different shapes") {
  for (const char* op : {"relu_backward", "relu6_backward", "sigmoid_backward", "gelu_backward"}) {
    CHECK_THROWS_AS(OpRunner(op).input({2}, Floats(2)).input({3}, Floats(3)).output({2}).run(), Error);
  }
  CHECK_THROWS_AS(OpRunner("gelu").input({2}, Floats(2)).output({3}).run(), Error);
}

}  // namespace
}  // namespace kw::test
