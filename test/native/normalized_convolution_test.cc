// Convolutions that end in BatchNorm with given statistics, a residual and an activation, and the means of what they give.
#include <tuple>

#include "convolution_reference.h"

namespace kw::test {
namespace {

struct Normalization {
  Normalization(const Case& c, const Reference& r)
      : scale(random_floats(c.out, 11)),
        shift(random_floats(c.out, 12)),
        mean(random_floats(c.out, 13)),
        variance(random_floats(c.out, 14)),
        residual(rounded(random_floats(size_of(r.shape_y), 15, 2, 3), r.type)) {
    for (float& value : variance) value = (0.5f + std::fabs(value)) * static_cast<float>(c.kernel * c.kernel * c.in * c.cell[0]);
  }

  Doubles apply(const Doubles& y, int64_t channels, const std::string& activation, bool adds) const {
    Doubles result(y.size());
    for (size_t i = 0; i < y.size(); ++i) {
      const size_t c = i % static_cast<size_t>(channels);
      double value = (y[i] - mean[c]) / std::sqrt(variance[c] + kEpsilon) * scale[c] + shift[c];
      if (adds) value += residual[i];
      if (activation != "none") value = std::max(value, 0.0);
      if (activation == "relu6") value = std::min(value, 6.0);
      result[i] = value;
    }
    return result;
  }

  // The inputs after the bias.
  void add_to(OpRunner& op, const Case& c, const Reference& r, bool adds) const {
    op.input({c.out}, scale).input({c.out}, shift).input({c.out}, mean).input({c.out}, variance);
    if (adds) op.input(r.shape_y, residual, r.type);
  }

  static constexpr double kEpsilon = 1e-3;
  Floats scale, shift, mean, variance, residual;
};

Doubles means_of(const Doubles& y, int64_t samples, int64_t channels) {
  Doubles means(static_cast<size_t>(samples * channels));
  const size_t positions = y.size() / means.size();
  for (size_t i = 0; i < y.size(); ++i) {
    means[i / (positions * channels) * channels + i % channels] += y[i] / static_cast<double>(positions);
  }
  return means;
}

nlohmann::json normalized_attributes(const Case& c, const std::string& activation, bool means) {
  auto a = attributes(c);
  a["epsilon"] = Normalization::kEpsilon;
  a["activation"] = activation;
  a["means"] = means;
  return a;
}

TEST_CASE("normalized_mixed_conv2d") {
  for_each_case([](const Case& c, const Reference& r, int threads) {
    const Normalization norm(c, r);
    const int64_t samples = r.shape_x[0];
    for (const auto& [activation, adds, in_place] :
         {std::tuple{"relu", false, false}, {"none", true, false}, {"relu6", true, true}, {"none", false, false}}) {
      INFO(std::string(activation), std::string(adds ? " with a residual" : ""), std::string(in_place ? ", in its memory" : ""));
      OpRunner op("normalized_mixed_conv2d", normalized_attributes(c, activation, true));
      op.input(r.shape_x, r.x, r.type).input(r.shape_attention, r.attention).input(c.cell, r.cells).input({c.out}, r.bias);
      norm.add_to(op, c, r, adds);
      in_place ? op.output_in_place(8) : op.output(r.shape_y, r.type);
      op.output({samples, c.out}).run_on(threads);
      const Doubles expected = norm.apply(r.y, c.out, activation, adds);
      check_near(op.floats(0), expected, r.type);
      check_near(op.floats(1), means_of(expected, samples, c.out), r.type);
    }
  });
}

TEST_CASE("normalized_mixed_conv2d without a bias and without means") {
  const Case& c = kCases[4];
  const Reference r(c, 3);
  const Normalization norm(c, r);
  Doubles y = r.y;
  for (size_t i = 0; i < y.size(); ++i) y[i] -= r.bias[i % static_cast<size_t>(c.out)];
  OpRunner op("normalized_mixed_conv2d", normalized_attributes(c, "relu", false));
  op.input(r.shape_x, r.x).input(r.shape_attention, r.attention).input(c.cell, r.cells).no_input();
  norm.add_to(op, c, r, true);
  check_near(op.output(r.shape_y).run_on(2).floats(0), norm.apply(y, c.out, "relu", true));
}

TEST_CASE("normalized_conv2d") {
  for (const Case& c : kCases) {
    for (const DataType type : {DataType::float32, DataType::bfloat16}) {
      const Reference r(c, 1, type);
      const Normalization norm(c, r);
      const Shape shape(r.shape_weight.begin() + 1, r.shape_weight.end());
      for (const auto& [activation, adds, in_place] :
           {std::tuple{"relu", false, false}, {"none", true, false}, {"relu6", true, true}, {"relu6", false, false}}) {
        for (const int threads : {1, 2}) {
          INFO(c.in, " -> ", c.out, ", kernel ", c.kernel, ", groups ", c.groups, ", ", std::string(name_of(type)), ", ",
               std::string(activation), std::string(adds ? " with a residual" : ""), std::string(in_place ? ", in its memory" : ""));
          OpRunner op("normalized_conv2d", normalized_attributes(c, activation, false));
          op.input(r.shape_x, r.x, type).input(shape, narrow(r.weight)).input({c.out}, r.bias);
          norm.add_to(op, c, r, adds);
          in_place ? op.output_in_place(7) : op.output(r.shape_y, type);
          check_near(op.run_on(threads).floats(0), norm.apply(r.y, c.out, activation, adds), type);
        }
      }
    }
  }
}

TEST_CASE("normalized convolutions refuse an activation that they do not know, and a residual of another type") {
  const Case& c = kCases[0];
  const Reference r(c, 1);
  const Normalization norm(c, r);
  const auto run = [&](const char* activation, DataType residual) {
    OpRunner op("normalized_mixed_conv2d", normalized_attributes(c, activation, false));
    op.input(r.shape_x, r.x).input(r.shape_attention, r.attention).input(c.cell, r.cells).input({c.out}, r.bias);
    norm.add_to(op, c, r, false);
    op.input(r.shape_y, norm.residual, residual).output(r.shape_y).run_on(1);
  };
  CHECK_THROWS_WITH(run("gelu", DataType::float32), doctest::Contains("expected activation none, relu or relu6 but received gelu"));
  CHECK_THROWS_WITH(run("relu", DataType::bfloat16), doctest::Contains("expected residual to be float32 but received bfloat16"));
}

TEST_CASE("a convolution refuses activations of two types") {
  const Case& c = kCases[0];
  const Reference r(c, 1);
  OpRunner op("samplewise_conv2d", attributes(c));
  op.input(r.shape_x, r.x, DataType::bfloat16).input(r.shape_weight, narrow(r.weight)).output(r.shape_y);
  CHECK_THROWS_WITH(op.run_on(1), doctest::Contains("expected y to be bfloat16 but received float32"));
}

}  // namespace
}  // namespace kw::test
