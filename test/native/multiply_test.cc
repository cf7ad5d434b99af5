// multiply and the gradient of its factor against naive double loops, in the forms that the networks use and in others.
#include "op_runner.h"

namespace kw::test {
namespace {

// The element of factor that meets element `position` of x.
size_t factor_position(size_t position, const Shape& x, const Shape& factor) {
  size_t result = 0, stride = 1;
  for (size_t axis = x.size(); axis-- > 0;) {
    const size_t index = position % static_cast<size_t>(x[axis]);
    position /= static_cast<size_t>(x[axis]);
    if (factor[axis] != 1) result += index * stride;
    stride *= static_cast<size_t>(factor[axis]);
  }
  return result;
}

TEST_CASE("multiply and the gradient of its factor") {
  const std::vector<std::pair<Shape, Shape>> forms = {
      {{8, 14, 14, 96}, {1, 1, 1, 96}},          // layer scale
      {{3, 28, 28, 40}, {3, 1, 1, 40}},          // channel gates of each sample
      {{70, 5, 5, 33}, {70, 1, 1, 33}},          // more groups than parts
      {{4, 24, 24, 32}, {4, 24, 24, 1}},         // position gates
      {{2, 16, 3, 3, 200}, {2, 1, 3, 3, 1}},     // kernel gates of each sample
      {{2, 300, 3, 3, 1}, {2, 1, 3, 3, 1}},      // of a depth-wise convolution
      {{2, 64, 3, 3, 32}, {2, 64, 1, 1, 1}},     // filter gates
      {{5, 40, 117}, {5, 40, 1}},                // of attentions
      {{3, 7, 5, 2, 4, 3}, {1, 7, 1, 2, 1, 3}},  // kept and summed in turn, beginning with summed
      {{3, 7, 5, 2, 4, 3}, {3, 1, 5, 1, 4, 1}},  // beginning with kept
      {{40, 50, 30}, {40, 50, 30}},              // element-wise
      {{50, 40, 30}, {1, 1, 1}},                 // one factor for all
      {{1, 1}, {1, 1}},
      {{}, {}},
      {{1, 37}, {1, 1}},
  };
  for (const auto& [shape, factor_shape] : forms) {
    CAPTURE(nlohmann::json(shape).dump());
    CAPTURE(nlohmann::json(factor_shape).dump());
    const Floats x = random_floats(size_of(shape), 1), factor = random_floats(size_of(factor_shape), 2),
                 dy = random_floats(size_of(shape), 3);
    Doubles y, dfactor(factor.size(), 0.0), magnitudes(factor.size(), 0.0);
    for (size_t i = 0; i < x.size(); ++i) {
      const size_t position = factor_position(i, shape, factor_shape);
      y.push_back(x[i] * factor[position]);
      dfactor[position] += static_cast<double>(dy[i]) * x[i];
      magnitudes[position] += std::fabs(static_cast<double>(dy[i]) * x[i]);
    }
    check_close(OpRunner("multiply").input(shape, x).input(factor_shape, factor).output(shape).run().floats(), y, 1e-7);
    check_close(OpRunner("multiply").input(shape, x).input(factor_shape, factor).output_in_place(0).run().floats(), y, 1e-7);
    OpRunner backward("multiply_backward_factor", {{"factorShape", factor_shape}});
    const Floats actual = backward.input(shape, dy).input(shape, x).output(factor_shape).run().floats();
    double worst = 0;
    for (size_t i = 0; i < actual.size(); ++i) {
      const double error = std::fabs(actual[i] - dfactor[i]) / magnitudes[i];
      if (!(error <= worst)) worst = error;
    }
    CHECK(worst < 5e-7);  // of the sum of magnitudes
  }
}

TEST_CASE("multiply refuses a factor that does not fit") {
  CHECK_THROWS_WITH_AS(OpRunner("multiply").input({2, 3}, Floats(6)).input({3}, Floats(3)).output({2, 3}).run(),
                       "[multiply] test: expected a factor with axes as in x [2, 3] or 1 but received shape [3]", Error);
  CHECK_THROWS_WITH_AS(OpRunner("multiply").input({2, 3}, Floats(6)).input({2, 2}, Floats(4)).output({2, 3}).run(),
                       "[multiply] test: expected a factor with axes as in x [2, 3] or 1 but received shape [2, 2]", Error);
  OpRunner backward("multiply_backward_factor", {{"factorShape", {2, 1}}});
  backward.input({2, 0}, Floats()).input({2, 0}, Floats()).output({2, 1});
  CHECK_THROWS_WITH_AS(backward.run(), "[multiply_backward_factor] test: expected x that is not empty but received shape [2, 0]", Error);
}

}  // namespace
}  // namespace kw::test
