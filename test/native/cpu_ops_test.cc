// Elementwise ops, reductions, pooling, dropout, loss and optimizers of the CPU backend against naive double implementations.
#include "cpu/elementwise/philox.h"
#include "op_runner.h"

namespace kw::test {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

TEST_CASE("philox: known answers of Random123") {
  using cpu::philox;
  CHECK(philox({0, 0, 0, 0}, {0, 0}) == std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  const uint32_t ones = 0xffffffff;
  CHECK(philox({ones, ones, ones, ones}, {ones, ones}) == std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        std::array<uint32_t, 4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("elementwise: values, in place as well") {
  for (const int64_t count : {1, 7, 40001}) {
    const Floats a = random_floats(count, 1), b = random_floats(count, 2);
    Doubles sum, rectified, passed;
    for (size_t i = 0; i < a.size(); ++i) {
      sum.push_back(a[i] + b[i]);
      rectified.push_back(std::max(a[i], 0.0f));
      passed.push_back(b[i] > 0 ? a[i] : 0);
    }
    check_close(OpRunner("add").input({count}, a).input({count}, b).output({count}).run().floats(), sum, 0);
    check_close(OpRunner("add").input({count}, a).input({count}, b).output_in_place(1).run().floats(), sum, 0);
    check_close(OpRunner("relu").input({count}, a).output({count}).run().floats(), rectified, 0);
    check_close(OpRunner("relu").input({count}, a).output_in_place(0).run().floats(), rectified, 0);
    check_close(OpRunner("relu_backward").input({count}, a).input({count}, b).output({count}).run().floats(), passed, 0);
    check_close(OpRunner("relu_backward").input({count}, a).input({count}, b).output_in_place(1).run().floats(), passed, 0);
    CHECK(OpRunner("copy").input({count}, a).input({count}, b).run().mutated(0) == b);
    CHECK(OpRunner("fill", {{"shape", {count}}, {"value", 2.5}}).output({count}).run().floats() == Floats(a.size(), 2.5f));
  }
  CHECK(std::isnan(OpRunner("relu").input({1}, Floats{kNan}).output({1}).run().floats()[0]));
}

TEST_CASE("elementwise: rows") {
  for (const int64_t channels : {1, 3, 17}) {
    for (const int64_t rows : {1, 5, 9001}) {
      const Floats x = random_floats(rows * channels, 3), bias = random_floats(channels, 4);
      Doubles shifted, sums(bias.size(), 0.0);
      for (size_t i = 0; i < x.size(); ++i) {
        shifted.push_back(x[i] + bias[i % bias.size()]);
        sums[i % bias.size()] += x[i];
      }
      check_close(OpRunner("add_bias").input({rows, 1, channels}, x).input({channels}, bias).output_in_place(0).run().floats(), shifted, 0);
      check_close(OpRunner("sum_rows").input({rows, 1, channels}, x).output({channels}).run().floats(), sums, 1e-5);
      const Floats joined =
          OpRunner("concat").input({rows, channels}, x).input({rows, channels}, x).output({rows, 2 * channels}).run().floats();
      const nlohmann::json second = {{"start", channels}, {"end", 2 * channels}, {"size", 2 * channels}};
      CHECK(OpRunner("slice", second).input({rows, 2 * channels}, joined).output({rows, channels}).run().floats() == x);
      const Floats zero = OpRunner("slice_backward", second).input({rows, channels}, x).output({rows, 2 * channels}).run().floats();
      for (size_t i = 0; i < joined.size(); ++i) {
        if (zero[i] != (static_cast<int64_t>(i) / channels % 2 ? joined[i] : 0.0f)) FAIL("slice_backward differs at ", i);
      }
    }
  }
}

TEST_CASE("sum_of_squares is accumulated in double") {
  const int64_t count = 300007;
  const Floats x = random_floats(count, 5, 100);
  double sum = 0;
  for (const float value : x) sum += static_cast<double>(value) * value;
  CHECK(OpRunner("sum_of_squares").input({count}, x).output({}).run().floats()[0] == static_cast<float>(sum));
}

TEST_CASE("global_avg_pool and its gradient") {
  for (const Shape& shape : {Shape{1, 1, 1, 1}, Shape{2, 3, 5, 17}, Shape{3, 70, 71, 3}, Shape{1, 40, 9, 130}, Shape{4, 6}}) {
    const int64_t samples = shape.front(), channels = shape.back(), positions = size_of(shape) / samples / channels;
    const Floats x = random_floats(size_of(shape), 6, 1000), dy = random_floats(samples * channels, 7);
    Doubles mean(dy.size(), 0.0), spread;
    for (int64_t i = 0; i < size_of(shape); ++i) {
      const auto pooled = static_cast<size_t>(i / (positions * channels) * channels + i % channels);
      mean[pooled] += static_cast<double>(x[static_cast<size_t>(i)]) / static_cast<double>(positions);
      spread.push_back(dy[pooled] / static_cast<double>(positions));
    }
    check_close(OpRunner("global_avg_pool").input(shape, x).output({samples, channels}).run().floats(), mean, 2e-7);
    const nlohmann::json attributes = {{"inputShape", shape}};
    check_close(OpRunner("global_avg_pool_backward", attributes).input({samples, channels}, dy).output(shape).run().floats(), spread, 1e-6);
  }
}

TEST_CASE("adaptive_avg_pool2d and its gradient") {
  const std::pair<Shape, Shape> cases[] = {
      {{2, 7, 9, 5}, {3, 2}}, {{1, 64, 48, 130}, {7, 7}}, {{3, 2, 1, 17}, {5, 3}}, {{2, 40, 40, 1}, {1, 1}}};
  for (const auto& [shape, grid] : cases) {
    const int64_t samples = shape[0], height = shape[1], width = shape[2], channels = shape[3];
    const Shape pooled = {samples, grid[0], grid[1], channels};
    const Floats x = random_floats(size_of(shape), 6, 1000), dy = random_floats(size_of(pooled), 7);
    Doubles mean, dx(x.size(), 0.0);
    for (int64_t i = 0; i < size_of(pooled); ++i) {
      const int64_t c = i % channels, column = i / channels % grid[1], row = i / channels / grid[1] % grid[0];
      const int64_t sample = i / channels / grid[1] / grid[0];
      std::vector<size_t> window;
      for (int64_t h = 0; h < height; ++h) {
        for (int64_t w = 0; w < width; ++w) {
          const bool is_within_rows = h >= row * height / grid[0] && h * grid[0] < (row + 1) * height;
          const bool is_within_columns = w >= column * width / grid[1] && w * grid[1] < (column + 1) * width;
          if (is_within_rows && is_within_columns)
            window.push_back(static_cast<size_t>(((sample * height + h) * width + w) * channels + c));
        }
      }
      double sum = 0;
      for (const size_t at : window) {
        sum += x[at];
        dx[at] += dy[static_cast<size_t>(i)] / static_cast<double>(window.size());
      }
      mean.push_back(sum / static_cast<double>(window.size()));
    }
    check_close(OpRunner("adaptive_avg_pool2d", {{"size", grid}}).input(shape, x).output(pooled).run().floats(), mean, 2e-7);
    const nlohmann::json backward = {{"inputSize", {height, width}}};
    check_close(OpRunner("adaptive_avg_pool2d_backward", backward).input(pooled, dy).output(shape).run().floats(), dx, 1e-6);
  }
}

TEST_CASE("transpose") {
  const int64_t outer = 70, rows = 3, columns = 90;
  const Floats x = random_floats(outer * rows * columns, 8);
  Floats exchanged, moved;
  for (int64_t i = 0; i < outer; ++i) {
    for (int64_t column = 0; column < columns; ++column) {
      for (int64_t row = 0; row < rows; ++row) exchanged.push_back(x[static_cast<size_t>((i * rows + row) * columns + column)]);
    }
  }
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < outer; ++i) {
      for (int64_t column = 0; column < columns; ++column) moved.push_back(x[static_cast<size_t>((i * rows + row) * columns + column)]);
    }
  }
  const auto transposed = [&](const Shape& axes, const Shape& shape) {
    return OpRunner("transpose", {{"axes", axes}}).input({outer, rows, columns}, x).output(shape).run().floats();
  };
  CHECK(transposed({0, 2, 1}, {outer, columns, rows}) == exchanged);
  CHECK(transposed({1, 0, 2}, {rows, outer, columns}) == moved);
}

TEST_CASE("max_pool2d: first maximum, NaN, gradient") {
  const nlohmann::json attributes = {{"kernel", {3, 2}}, {"stride", {2, 1}}, {"padding", {1, 1}}};
  for (const int64_t channels : {1, 3, 67}) {
    const int64_t samples = 2, height = 13, width = 12, out_height = 7, out_width = 13;
    Floats x = random_floats(samples * height * width * channels, 8);
    for (float& value : x) value = std::round(value);  // many ties
    x[5] = kNan;
    const Shape pooled = {samples, out_height, out_width, channels};
    const OpRunner forward = OpRunner("max_pool2d", attributes)
                                 .input({samples, height, width, channels}, x)
                                 .output(pooled)
                                 .output(pooled, DataType::int32)
                                 .run();
    const Floats y = forward.floats(0), dy = random_floats(size_of(pooled), 9);
    const Integers indices = forward.integers(1);
    Doubles dx(x.size(), 0.0);
    for (int64_t i = 0; i < size_of(pooled); ++i) {
      const int64_t c = i % channels, column = i / channels % out_width, row = i / channels / out_width % out_height;
      const int64_t sample = i / channels / out_width / out_height;
      float best = -std::numeric_limits<float>::infinity();
      int64_t index = -1;
      for (int64_t h = row * 2 - 1; h < row * 2 + 2; ++h) {
        for (int64_t w = column - 1; w < column + 1; ++w) {
          if (h < 0 || h >= height || w < 0 || w >= width) continue;
          const float value = x[static_cast<size_t>(((sample * height + h) * width + w) * channels + c)];
          if (value > best || std::isnan(value)) best = value, index = h * width + w;
        }
      }
      const auto at = static_cast<size_t>(i);
      if (indices[at] != index || (y[at] != best && !std::isnan(best))) FAIL("max_pool2d differs at ", i);
      if (std::isnan(best) != std::isnan(y[at])) FAIL("NaN is lost at ", i);
      dx[static_cast<size_t>((sample * height * width + index) * channels + c)] += dy[at];
    }
    const nlohmann::json backward = {{"inputSize", {height, width}}};
    check_close(OpRunner("max_pool2d_backward", backward)
                    .input(pooled, dy)
                    .input(pooled, indices)
                    .output({samples, height, width, channels})
                    .run()
                    .floats(),
                dx, 1e-6);
  }
}

TEST_CASE("dropout: the mask is Philox of the element, or of the sample") {
  const double probability = 0.3;
  for (const bool per_sample : {false, true}) {
    const int64_t samples = 1001, width = 37;
    const Floats x = random_floats(samples * width, 10, 5);
    const nlohmann::json attributes = {{"probability", probability}, {"perSample", per_sample}, {"stream", 7}};
    const Floats y = OpRunner("dropout", attributes)
                         .input({samples, width}, x)
                         .input({}, Integers{-3})
                         .input({}, Integers{11})
                         .output_in_place(0)
                         .run()
                         .floats();
    int64_t dropped = 0;
    Doubles expected;
    for (size_t i = 0; i < x.size(); ++i) {
      const uint64_t element = per_sample ? i / width : i;
      const auto lanes = cpu::philox({static_cast<uint32_t>(element >> 2), 7, 11, 0}, {static_cast<uint32_t>(-3), 0x4b57});
      const bool drop = lanes[element & 3] * std::ldexp(1.0, -32) < probability;
      dropped += drop;
      expected.push_back(drop ? 0 : x[i] / (1 - probability));
    }
    check_close(y, expected, 1e-6);
    CHECK(static_cast<double>(dropped) / static_cast<double>(x.size()) == doctest::Approx(probability).epsilon(per_sample ? 0.2 : 0.03));
  }
  const nlohmann::json none = {{"probability", 0}, {"perSample", false}, {"stream", 0}};
  const Floats x = random_floats(5, 11);
  CHECK(OpRunner("dropout", none).input({5}, x).input({}, Integers{0}).input({}, Integers{0}).output({5}).run().floats() == x);
}

double reference_loss(const Doubles& logits, const Doubles& targets, size_t classes, double smoothing) {
  double loss = 0;
  for (size_t row = 0; row < logits.size(); row += classes) {
    double largest = logits[row], sum = 0;
    for (size_t k = 0; k < classes; ++k) largest = std::max(largest, logits[row + k]);
    for (size_t k = 0; k < classes; ++k) sum += std::exp(logits[row + k] - largest);
    for (size_t k = 0; k < classes; ++k) {
      const double target = targets[row + k] * (1 - smoothing) + smoothing / static_cast<double>(classes);
      loss += target * (largest + std::log(sum) - logits[row + k]);
    }
  }
  return loss / static_cast<double>(logits.size() / classes);
}

TEST_CASE("cross_entropy and its gradient: classes and soft targets") {
  for (const double smoothing : {0.0, 0.1}) {
    for (const auto& [samples, classes] : std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {5, 3}, {33, 1000}}) {
      const Shape shape = {samples, classes};
      const Floats logits = random_floats(samples * classes, 12, 50, 4);
      Integers labels;
      Floats hot(logits.size(), 0.0f), soft = random_floats(samples * classes, 13);
      for (int64_t n = 0; n < samples; ++n) {
        labels.push_back(static_cast<int32_t>((n * 31 + 2) % classes));
        hot[static_cast<size_t>(n * classes + labels.back())] = 1;
      }
      for (float& value : soft) value = std::fabs(value) / static_cast<float>(classes);
      for (const bool classes_given : {true, false}) {
        const Floats& targets = classes_given ? hot : soft;
        const nlohmann::json attributes = {{"labelSmoothing", smoothing}};
        const auto add_targets = [&, count = samples](OpRunner& op) -> OpRunner& {
          return classes_given ? op.input({count}, labels) : op.input(shape, soft);
        };
        OpRunner forward("cross_entropy", attributes);
        add_targets(forward.input(shape, logits)).output({}).output(shape).run();
        const auto loss = [&, width = static_cast<size_t>(classes)](const Doubles& z) {
          return reference_loss(z, widen(targets), width, smoothing);
        };
        check_close(forward.floats(0), {loss(widen(logits))}, 1e-6);
        OpRunner backward("cross_entropy_backward", attributes);
        add_targets(backward.input({}, Floats{2}).input(shape, forward.floats(1))).output_in_place(1).run();
        check_gradient(backward.floats(), logits, [&](const Doubles& z) { return 2 * loss(z); }, 1e-6);
      }
    }
  }
}

TEST_CASE("cross_entropy refuses a target outside its classes") {
  const nlohmann::json attributes = {{"labelSmoothing", 0}};
  for (const int32_t target : {-1, 3, 2147483647}) {
    OpRunner op("cross_entropy", attributes);
    op.input({2, 3}, Floats(6, 0.0f)).input({2}, Integers{0, target}).output({}).output({2, 3});
    const std::string message = "[cross_entropy] test: expected targets in 0..2 but sample 1 has target " + std::to_string(target);
    CHECK_THROWS_WITH_AS(op.run(), message.c_str(), Error);
  }
}

TEST_CASE("sgd and adamw follow PyTorch") {
  for (const int64_t count : {1, 70001}) {
    const int64_t decayed = count / 2 + 1;
    const Shape shape = {count};
    const Floats w = random_floats(count, 14), g = random_floats(count, 15), v = random_floats(count, 16);
    Floats squares = random_floats(count, 17);
    for (float& value : squares) value = std::fabs(value);
    const double rate = 0.1, decay = 0.01;
    const Floats rate_value = {static_cast<float>(rate)}, decay_value = {static_cast<float>(decay)};
    for (const bool nesterov : {false, true}) {
      Doubles weights, velocities;
      for (size_t i = 0; i < w.size(); ++i) {
        const double gradient = g[i] + (static_cast<int64_t>(i) < decayed ? decay * w[i] : 0);
        velocities.push_back(0.9 * v[i] + gradient);
        weights.push_back(w[i] - rate * (nesterov ? gradient + 0.9 * velocities[i] : velocities[i]));
      }
      OpRunner op("sgd", {{"momentum", 0.9}, {"nesterov", nesterov}, {"decayed", decayed}});
      op.input(shape, w).input(shape, g).input(shape, v).input({}, rate_value).input({}, decay_value).run();
      check_close(op.mutated(0), weights, 1e-6);
      check_close(op.mutated(2), velocities, 1e-6);
    }
    for (const int32_t step : {1, 5}) {
      Doubles weights, firsts, seconds;
      for (size_t i = 0; i < w.size(); ++i) {
        firsts.push_back(0.9 * v[i] + (1 - 0.9) * g[i]);
        seconds.push_back(0.999 * squares[i] + (1 - 0.999) * g[i] * g[i]);
        const double kept = w[i] * (static_cast<int64_t>(i) < decayed ? 1 - rate * decay : 1);
        const double deviation = std::sqrt(seconds[i] / (1 - std::pow(0.999, step))) + 1e-8;
        weights.push_back(kept - rate * (firsts[i] / (1 - std::pow(0.9, step))) / deviation);
      }
      OpRunner op("adamw", {{"beta1", 0.9}, {"beta2", 0.999}, {"epsilon", 1e-8}, {"decayed", decayed}});
      op.input(shape, w).input(shape, g).input(shape, v).input(shape, squares);
      op.input({}, rate_value).input({}, decay_value).input({}, Integers{step}).run();
      check_close(op.mutated(0), weights, 1e-6);
      check_close(op.mutated(2), firsts, 1e-6);
      check_close(op.mutated(3), seconds, 1e-6);
    }
  }
}

TEST_CASE("a plan with wrong shapes is refused when the kernel is prepared") {
  CHECK_THROWS_WITH_AS(OpRunner("add").input({2}, Floats{1, 2}).input({3}, Floats{1, 2, 3}).output({2}).run(),
                       "[add] test: expected b of shape [2] but received [3]", Error);
  const nlohmann::json outside = {{"start", 1}, {"end", 4}};
  CHECK_THROWS_AS(OpRunner("slice", outside).input({1, 3}, Floats{1, 2, 3}).output({1, 3}).run(), Error);
  const nlohmann::json certain = {{"probability", 1}, {"perSample", false}, {"stream", 0}};
  CHECK_THROWS_AS(OpRunner("dropout", certain).input({1}, Floats{1}).input({}, Integers{0}).input({}, Integers{0}).output({1}).run(),
                  Error);
}

}  // namespace
}  // namespace kw::test
