// Normalizations of the CPU backend: values against naive double implementations, gradients against their differences.
#include "op_runner.h"

namespace kw::test {
namespace {

constexpr double kEpsilon = 1e-5;
const nlohmann::json kAttributes = {{"epsilon", kEpsilon}};

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
