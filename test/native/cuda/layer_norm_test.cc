// Layer normalization and its gradient, on the device as on the CPU.
#include "compare.h"
#include "ops/checks.h"

namespace kw::test {
namespace {

constexpr double kTolerance = 4e-6;
const nlohmann::json kAttributes = {{"epsilon", 1e-6}};

struct Case {
  Shape shape;
  DataType type;
  int64_t offset;

  int64_t channels() const { return shape.back(); }
  Shape rows() const { return {size_of(shape) / channels()}; }
  Floats values(unsigned seed) const { return rounded(random_floats(size_of(shape), seed, 0.5f, 2), type); }
  Floats parameters(unsigned seed) const { return random_floats(channels(), seed, 1, 0.3f); }

  OpRunner forward() const {
    OpRunner op("layer_norm", kAttributes);
    op.at_offset(offset).input(shape, values(1), type).input({channels()}, parameters(2)).input({channels()}, parameters(3));
    return op;
  }
  OpRunner backward() const {
    OpRunner normalized = forward();
    normalized.output(shape, type).output(rows()).output(rows()).run_on(1);
    OpRunner op("layer_norm_backward", kAttributes);
    op.at_offset(offset).input(shape, values(4), type).input(shape, values(1), type).input({channels()}, parameters(2));
    return op.input(rows(), normalized.floats(1)).input(rows(), normalized.floats(2));
  }
};

// Rows shorter than a warp and longer, in packs and not; enough of them for several parts.
TEST_CASE("layer_norm on the device, and its gradient") {
  int64_t index = 0;
  for (const Shape& shape : std::vector<Shape>{{1, 1}, {5, 3}, {2, 3, 4}, {7, 8}, {9, 67}, {3, 96}, {2, 520}, {2100, 8}, {700, 5}}) {
    for (const DataType type : {DataType::float32, DataType::bfloat16}) {
      const Case of{shape, type, index++ % 4 == 3 ? 4 : 0};
      CAPTURE(describe(shape));
      CAPTURE(name_of(type));
      check_on_gpu(of.forward().output(shape, type).output(of.rows()).output(of.rows()), kTolerance);
      // The gradient of a single normalized value is zero, a difference of terms that are dy / deviation.
      const double terms = of.channels() == 1 ? 1 / std::sqrt(1e-5) : 0;
      check_on_gpu(of.backward().output(shape, type).output({of.channels()}).output({of.channels()}), {kTolerance, terms});
    }
  }
  const Case of{{6, 40}, DataType::float32, 0};
  check_on_gpu(of.forward().output_in_place(0).output(of.rows()).output(of.rows()), kTolerance);
  check_on_gpu(of.backward().output_in_place(0).output({40}).output({40}), kTolerance);
}

TEST_CASE("layer_norm on the device: a mean that is large against the deviation, and a NaN that stays in its row") {
  Floats x = random_floats(3 * 300, 1, 1 << 20, 0.5f);
  x[350] = NAN;
  OpRunner op("layer_norm", kAttributes);
  op.input({3, 300}, x).input({300}, Floats(300, 1)).input({300}, Floats(300, 0)).output({3, 300}).output({3}).output({3});
  const OpRunner result = check_on_gpu(op, kTolerance);
  double mean = 0, square = 0;
  for (size_t i = 600; i < 900; ++i) mean += x[i] / 300.0;
  for (size_t i = 600; i < 900; ++i) square += (x[i] - mean) * (x[i] - mean) / 300.0;
  CHECK(result.floats(2)[2] == doctest::Approx(square).epsilon(1e-6));
  for (size_t i = 0; i < x.size(); ++i) CHECK(std::isnan(result.floats()[i]) == (i / 300 == 1));
}

TEST_CASE("layer norms on the device refuse what the CPU refuses") {
  const auto norm = [](int64_t channels) {
    OpRunner op("layer_norm", kAttributes);
    return op.input({2, 3}, Floats(6)).input({channels}, Floats(static_cast<size_t>(channels))).input({3}, Floats(3));
  };
  check_refused_as_on_cpu(norm(2).output({2, 3}).output({2}).output({2}));
  check_refused_as_on_cpu(norm(3).output({2, 3}).output({3}).output({2}));
  OpRunner backward("layer_norm_backward", kAttributes);
  backward.input({2, 3}, Floats(6)).input({2, 3}, Floats(6)).input({3}, Floats(3)).input({2}, Floats(2)).input({2}, Floats(2));
  check_refused_as_on_cpu(backward.output({2, 3}).output({3}).output({2}));
}

}  // namespace
}  // namespace kw::test
