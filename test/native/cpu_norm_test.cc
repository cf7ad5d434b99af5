// Normalizations of the CPU backend: values against naive double implementations, gradients against their differences.
#include "op_runner.h"

namespace kw::test {
namespace {

constexpr double kEpsilon = 1e-5;
const nlohmann::json kAttributes = {{"epsilon", kEpsilon}, {"activation", "none"}};

struct Moments {
  Doubles mean, variance;
};

// Over rows (a mean for each channel) or over channels (a mean for each row).
Moments reference_moments(const Doubles& x, size_t channels, bool over_rows) {
  const size_t rows = x.size() / channels, count = over_rows ? rows : channels;
  Moments moments{Doubles(x.size() / count, 0.0), Doubles(x.size() / count, 0.0)};
  const auto group = [=](size_t i) { return over_rows ? i % channels : i / channels; };
  for (size_t i = 0; i < x.size(); ++i) moments.mean[group(i)] += x[i] / static_cast<double>(count);
  for (size_t i = 0; i < x.size(); ++i) {
    const double difference = x[i] - moments.mean[group(i)];
    moments.variance[group(i)] += difference * difference / static_cast<double>(count);
  }
  return moments;
}

Doubles reference_normalize(const Doubles& x, const Moments& moments, const Doubles& scale, const Doubles& bias, bool over_rows) {
  const size_t channels = scale.size();
  Doubles y;
  for (size_t i = 0; i < x.size(); ++i) {
    const size_t group = over_rows ? i % channels : i / channels;
    y.push_back((x[i] - moments.mean[group]) / std::sqrt(moments.variance[group] + kEpsilon) * scale[i % channels] + bias[i % channels]);
  }
  return y;
}

// batch_norm (statistics over rows) or layer_norm (over channels), forward and backward.
void check_normalization(const std::string& op, int64_t rows, int64_t channels, bool over_rows) {
  CAPTURE(op);
  CAPTURE(rows);
  CAPTURE(channels);
  const Shape shape = {rows, 1, channels}, vector = {channels}, statistics = {over_rows ? channels : rows};
  const Floats x = random_floats(rows * channels, 1, 0.5, 2), dy = random_floats(rows * channels, 2, 0.1f);
  const Floats scale = random_floats(channels, 3, 1), bias = random_floats(channels, 4);
  const Moments moments = reference_moments(widen(x), scale.size(), over_rows);
  const OpRunner forward = OpRunner(op, kAttributes)
                               .input(shape, x)
                               .input(vector, scale)
                               .input(vector, bias)
                               .output(shape)
                               .output(statistics)
                               .output(statistics)
                               .run();
  const double blowup = rows == 1 || channels == 1 ? 20 : 1;  // a vanishing variance multiplies rounding errors by 1/sqrt(epsilon)
  check_close(forward.floats(0), reference_normalize(widen(x), moments, widen(scale), widen(bias), over_rows), 1e-5 * blowup);
  check_close(forward.floats(1), moments.mean, 2e-6);
  check_close(forward.floats(2), moments.variance, 3e-6);

  OpRunner backward(op + "_backward", kAttributes);
  backward.input(shape, dy).input(shape, x).input(vector, scale).input(statistics, forward.floats(1)).input(statistics, forward.floats(2));
  backward.output(shape).output(vector).output(vector).run();
  const auto loss = [&](const Doubles& x, const Doubles& scale, const Doubles& bias) {
    return weighted_sum(dy, reference_normalize(x, reference_moments(x, scale.size(), over_rows), scale, bias, over_rows));
  };
  const Doubles wide_x = widen(x), wide_scale = widen(scale), wide_bias = widen(bias);
  check_gradient(backward.floats(0), x, [&](const Doubles& x) { return loss(x, wide_scale, wide_bias); }, 2e-5 * blowup);
  check_gradient(backward.floats(1), scale, [&](const Doubles& scale) { return loss(wide_x, scale, wide_bias); }, 2e-5 * blowup);
  check_gradient(backward.floats(2), bias, [&](const Doubles& bias) { return loss(wide_x, wide_scale, bias); }, 2e-5);
}

TEST_CASE("batch_norm and layer_norm, forward and backward") {
  for (const int64_t channels : {1, 3, 17, 200}) {
    for (const int64_t rows : {1, 2, 33, 2500}) {
      check_normalization("batch_norm", rows, channels, true);
      check_normalization("layer_norm", rows, channels, false);
    }
  }
}

// The activation's value of x, and whether it lets a gradient through.
double activated(const std::string& activation, double x) {
  return activation == "none" ? x : std::min(std::max(x, 0.0), activation == "relu6" ? 6.0 : INFINITY);
}
bool passes(const std::string& activation, double x) { return activation == "none" || (x > 0 && (activation == "relu" || x < 6)); }

// batch_norm with an activation, and a residual or none, and its backward, which takes over the memory of dy and x.
void check_fused_batch_norm(const std::string& activation, bool residual, int64_t rows, int64_t channels, DataType type) {
  CAPTURE(activation);
  CAPTURE(residual);
  CAPTURE(rows);
  CAPTURE(channels);
  CAPTURE(name_of(type));
  const nlohmann::json attributes = {{"epsilon", kEpsilon}, {"activation", activation}};
  const Shape shape = {rows, channels}, vector = {channels};
  const Floats x = rounded(random_floats(rows * channels, 1, 0.5, 2), type), dy = rounded(random_floats(rows * channels, 2), type);
  const Floats scale = random_floats(channels, 3, 3), bias = random_floats(channels, 4, 2);
  const Floats added = rounded(random_floats(rows * channels, 5), type);
  const Moments moments = reference_moments(widen(x), scale.size(), true);
  Doubles value = reference_normalize(widen(x), moments, widen(scale), widen(bias), true);
  for (size_t i = 0; residual && i < value.size(); ++i) value[i] += added[i];
  Doubles expected;
  for (const double each : value) expected.push_back(activated(activation, each));
  const double precision = type == DataType::bfloat16 ? 1.0 / 256 : 1e-5;

  OpRunner forward("batch_norm", attributes);
  forward.input(shape, x, type).input(vector, scale).input(vector, bias);
  if (residual) {
    forward.input(shape, added, type).output_in_place(3);
  } else {
    forward.output(shape, type);
  }
  forward.output(vector).output(vector).run();
  check_close(forward.floats(0), expected, precision);
  if (residual && activation == "none") return;  // the gradient is that of a plain batch_norm

  // What passes, by the value that the kernel had: one that is 0 or 6 but for rounding may fall on either side.
  const Floats y = forward.floats(0);
  Floats passed;
  for (size_t i = 0; i < dy.size(); ++i) {
    passed.push_back(passes(activation, residual ? y[i] : value[i]) ? dy[i] : 0.0f);
  }
  OpRunner backward("batch_norm_backward", attributes);
  backward.input(shape, dy, type).input(shape, x, type).input(vector, scale);
  backward.input(vector, forward.floats(1)).input(vector, forward.floats(2)).input(vector, bias);
  if (residual) backward.input(shape, y, type);
  backward.output_in_place(1).output(vector).output(vector);
  if (residual) backward.output_in_place(0);
  backward.run();
  OpRunner plain("batch_norm_backward", kAttributes);
  plain.input(shape, passed, type).input(shape, x, type).input(vector, scale);
  plain.input(vector, forward.floats(1)).input(vector, forward.floats(2)).output(shape, type).output(vector).output(vector).run();
  for (const size_t output : {0, 1, 2}) check_close(backward.floats(output), widen(plain.floats(output)), precision);
  if (residual) CHECK(backward.floats(3) == passed);
}

TEST_CASE("batch_norm with a residual and an activation, forward and backward, in both precisions") {
  for (const std::string activation : {"none", "relu", "relu6"}) {
    for (const bool residual : {false, true}) {
      for (const DataType type : {DataType::float32, DataType::bfloat16}) {
        check_fused_batch_norm(activation, residual, 7, 3, type);
        check_fused_batch_norm(activation, residual, 2500, 17, type);
      }
    }
  }
}

TEST_CASE("batch_norm refuses an activation that it does not know") {
  OpRunner forward("batch_norm", {{"epsilon", kEpsilon}, {"activation", "gelu"}});
  forward.input({2, 1}, Floats{1, 2}).input({1}, Floats{1}).input({1}, Floats{0}).output({2, 1}).output({1}).output({1});
  CHECK_THROWS_WITH(forward.run(), "[batch_norm] test: expected activation none, relu or relu6 but received gelu");
}

TEST_CASE("statistics survive a mean that is large against the deviation, and an outlier in the first row") {
  const int64_t rows = 20000, channels = 5;
  Floats x = random_floats(rows * channels, 5, 10000, 0.25f);
  x[1] = 0;
  for (size_t row = 0; row < static_cast<size_t>(rows); ++row) x[row * 5 + 4] = 12345.678f;
  const Floats ones(channels, 1.0f), zeros(channels, 0.0f);
  const Shape vector = {channels};
  const OpRunner batch = OpRunner("batch_norm", kAttributes)
                             .input({rows, channels}, x)
                             .input(vector, ones)
                             .input(vector, zeros)
                             .output({rows, channels})
                             .output(vector)
                             .output(vector)
                             .run();
  const Moments moments = reference_moments(widen(x), channels, true);
  check_close(batch.floats(1), moments.mean, 1e-7);
  for (size_t c = 0; c < 4; ++c) CHECK(batch.floats(2)[c] == doctest::Approx(moments.variance[c]).epsilon(1e-5));
  CHECK(batch.floats(2)[4] == 0.0f);
  CHECK(batch.floats(0)[4] == 0.0f);
  const Floats wide_ones(100, 1.0f), wide_zeros(100, 0.0f);
  const OpRunner layer = OpRunner("layer_norm", kAttributes)
                             .input({1000, 100}, x)
                             .input({100}, wide_ones)
                             .input({100}, wide_zeros)
                             .output({1000, 100})
                             .output({1000})
                             .output({1000})
                             .run();
  const Moments row_moments = reference_moments(widen(x), 100, false);
  for (size_t row = 0; row < 1000; ++row) {
    if (layer.floats(2)[row] != doctest::Approx(row_moments.variance[row]).epsilon(1e-5)) FAIL("variance differs in row ", row);
  }
}

TEST_CASE("batch_norm_inference and its gradient; running statistics") {
  for (const int64_t channels : {1, 17}) {
    const int64_t rows = 1500;
    const Shape shape = {rows, channels}, vector = {channels};
    const Floats x = random_floats(rows * channels, 6), dy = random_floats(rows * channels, 7), scale = random_floats(channels, 8);
    const Floats bias = random_floats(channels, 9), mean = random_floats(channels, 10);
    Floats variance = random_floats(channels, 11);
    for (float& value : variance) value *= value;
    const Moments constants{widen(mean), widen(variance)};
    OpRunner forward("batch_norm_inference", kAttributes);
    forward.input(shape, x).input(vector, scale).input(vector, bias).input(vector, mean).input(vector, variance).output(shape).run();
    check_close(forward.floats(), reference_normalize(widen(x), constants, widen(scale), widen(bias), true), 1e-5);
    OpRunner backward("batch_norm_inference_backward", kAttributes);
    backward.input(shape, dy).input(shape, x).input(vector, scale).input(vector, mean).input(vector, variance);
    backward.output(shape).output(vector).output(vector).run();
    const auto loss = [&](const Doubles& x, const Doubles& scale, const Doubles& bias) {
      return weighted_sum(dy, reference_normalize(x, constants, scale, bias, true));
    };
    const Doubles wide_x = widen(x), wide_scale = widen(scale), wide_bias = widen(bias);
    check_gradient(backward.floats(0), x, [&](const Doubles& x) { return loss(x, wide_scale, wide_bias); });
    check_gradient(backward.floats(1), scale, [&](const Doubles& scale) { return loss(wide_x, scale, wide_bias); });
    check_gradient(backward.floats(2), bias, [&](const Doubles& bias) { return loss(wide_x, wide_scale, bias); });

    for (const int64_t count : {1, 8}) {
      OpRunner update("update_running_statistics", {{"momentum", 0.1}, {"count", count}});
      update.input(vector, mean).input(vector, variance).input(vector, bias).input(vector, scale).run();
      Doubles means, variances;
      for (size_t c = 0; c < mean.size(); ++c) {
        means.push_back(0.9 * mean[c] + 0.1 * bias[c]);
        variances.push_back(0.9 * variance[c] + 0.1 * scale[c] * (count > 1 ? 8.0 / 7 : 1));
      }
      check_close(update.mutated(0), means, 1e-6);
      check_close(update.mutated(1), variances, 1e-6);
    }
  }
}

}  // namespace
}  // namespace kw::test
