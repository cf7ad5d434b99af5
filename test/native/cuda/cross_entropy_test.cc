// The loss and its gradient, on the device as on the CPU.
#include "compare.h"

namespace kw::test {
namespace {

Integers some_labels(int64_t samples, int64_t classes) {
  Integers labels;
  for (int64_t sample = 0; sample < samples; ++sample) labels.push_back(static_cast<int32_t>((sample * 7 + 3) % classes));
  return labels;
}

Floats some_probabilities(int64_t samples, int64_t classes) {
  Floats values = random_floats(samples * classes, 5);
  for (float& value : values) value = std::fabs(value) / static_cast<float>(classes);
  return values;
}

void add_targets(OpRunner& op, int64_t samples, int64_t classes, bool are_labels) {
  if (are_labels) {
    op.input({samples}, some_labels(samples, classes));
  } else {
    op.input({samples, classes}, some_probabilities(samples, classes));
  }
}

TEST_CASE("cross_entropy and its gradient on the device") {
  for (const Shape& shape : {Shape{1, 1}, Shape{1, 2}, Shape{3, 10}, Shape{300, 5}, Shape{5, 1000}}) {
    CAPTURE(nlohmann::json(shape).dump());
    for (const bool are_labels : {true, false}) {
      for (const double smoothing : {0.0, 0.1, 1.0}) {
        OpRunner forward("cross_entropy", {{"labelSmoothing", smoothing}}),
            backward("cross_entropy_backward", {{"labelSmoothing", smoothing}});
        forward.at_offset(4).input(shape, random_floats(size_of(shape), 1, 0, 4));
        add_targets(forward, shape[0], shape[1], are_labels);
        check_on_gpu(forward.output({}).output(shape), 2e-6);
        backward.at_offset(4).input({}, Floats{0.7f}).input(shape, some_probabilities(shape[0], shape[1]));
        add_targets(backward, shape[0], shape[1], are_labels);
        check_on_gpu(OpRunner(backward).output(shape), 2e-6);
        check_on_gpu(backward.output_in_place(1), 2e-6);
      }
    }
  }
}

TEST_CASE("cross_entropy on the device lets through what is not a number") {
  for (const float value : {NAN, HUGE_VALF, -HUGE_VALF}) {
    OpRunner op("cross_entropy", {{"labelSmoothing", 0.0}});
    check_on_gpu(op.input({2, 3}, Floats{1, 2, 3, 4, value, 5}).input({2}, Integers{0, 2}).output({}).output({2, 3}), 1e-6);
  }
}

TEST_CASE("On the device a target that is no class makes the loss and its row of the gradient NaN") {
  for (const int32_t label : {-1, 3, 1 << 30}) {
    OpRunner forward("cross_entropy", {{"labelSmoothing", 0.0}}), backward("cross_entropy_backward", {{"labelSmoothing", 0.0}});
    forward.input({2, 3}, random_floats(6, 1)).input({2}, Integers{0, label}).output({}).output({2, 3}).run_on(gpu());
    CHECK(std::isnan(forward.floats()[0]));
    backward.input({}, Floats{1}).input({2, 3}, Floats(6, 1 / 3.0f)).input({2}, Integers{0, label}).output({2, 3}).run_on(gpu());
    for (size_t i = 0; i < 6; ++i) CHECK(std::isnan(backward.floats()[i]) == (i >= 3));
  }
}

TEST_CASE("cross_entropy on the device refuses what the CPU refuses") {
  OpRunner empty("cross_entropy", {{"labelSmoothing", 0.0}}), smooth("cross_entropy", {{"labelSmoothing", 1.5}});
  check_refused_as_on_cpu(empty.input({0, 3}, Floats()).input({0}, Integers()).output({}).output({0, 3}));
  check_refused_as_on_cpu(smooth.input({1, 3}, Floats(3)).input({1}, Integers(1)).output({}).output({1, 3}));
  OpRunner backward("cross_entropy_backward", {{"labelSmoothing", 0.0}});
  check_refused_as_on_cpu(backward.input({}, Floats(1)).input({2, 3}, Floats(6)).input({3}, Integers(3)).output({2, 3}));
}

}  // namespace
}  // namespace kw::test
