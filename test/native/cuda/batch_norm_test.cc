// Batch normalization and its gradients, on the device as on the CPU.
#include "compare.h"
#include "ops/checks.h"

namespace kw::test {
namespace {

constexpr double kTolerance = 4e-6;

struct Form {
  Shape shape;  // [..., C]
  DataType type;
  int64_t offset;  // of the tensors in their buffers, in bytes
  const char* activation;
  bool residual;

  int64_t channels() const { return shape.back(); }
  int64_t size() const { return size_of(shape); }
  Shape vector() const { return {channels()}; }
  nlohmann::json attributes() const { return {{"epsilon", 1e-5}, {"activation", activation}}; }
  Floats values(unsigned seed) const { return rounded(random_floats(size(), seed, 0.5f, 2), type); }
  Floats parameters(unsigned seed) const { return random_floats(channels(), seed, 1, 0.3f); }
};

// Few rows and many, divided among blocks; channels in packs and not, fewer and more than a warp has lanes.
const std::vector<Shape> kShapes = {{1, 1}, {2, 1, 3}, {1, 40}, {100, 5}, {9, 67}, {3, 5, 7, 24}, {1025, 8}, {1300, 3}, {2, 600, 36}};
// The plain forms of every kernel; what comes after the normalization does not depend on the shape.
const std::vector<std::pair<const char*, bool>> kEndings = {{"none", false}, {"relu", true}, {"relu6", false}};

template <class Body>
void for_each_form(const Body& body) {
  size_t index = 0;
  for (const Shape& shape : kShapes) {
    for (const DataType type : {DataType::float32, DataType::bfloat16}) {
      // every shape with another ending in each type, and with tensors that start packs in one of them
      const auto& [activation, residual] = kEndings[index % kEndings.size()];
      const Form form{shape, type, index % 4 == 3 ? 4 : 0, activation, residual};
      CAPTURE(describe(shape));
      CAPTURE(name_of(type));
      body(form);
      ++index;
    }
  }
  for (const auto& [activation, residual] : {std::pair{"none", true}, {"relu", false}, {"relu6", true}}) {
    for (const DataType type : {DataType::float32, DataType::bfloat16}) body(Form{{33, 16}, type, 0, activation, residual});
  }
}

OpRunner forward_of(const Form& form) {
  OpRunner op("batch_norm", form.attributes());
  op.at_offset(form.offset).input(form.shape, form.values(1), form.type);
  op.input(form.vector(), form.parameters(2)).input(form.vector(), form.parameters(3));
  if (form.residual) op.input(form.shape, form.values(4), form.type);
  return op;
}

TEST_CASE("batch_norm on the device") {
  for_each_form([](const Form& form) {
    OpRunner op = forward_of(form);
    check_on_gpu(op.output(form.shape, form.type).output(form.vector()).output(form.vector()), kTolerance);
  });
}

TEST_CASE("batch_norm on the device, in place of x and of the residual") {
  for (const Shape& shape : {Shape{20, 8}, {1100, 8}}) {
    const Form form{shape, DataType::float32, 0, "relu", true};
    for (const size_t place : {0, 3}) {
      check_on_gpu(forward_of(form).output_in_place(place).output(form.vector()).output(form.vector()), kTolerance);
    }
  }
}

TEST_CASE("batch_norm on the device: statistics survive a mean that is large against the deviation, and an outlier in the first row") {
  for (const Shape& shape : {Shape{300, 4}, {1500, 4}}) {
    Form form{shape, DataType::float32, 0, "none", false};
    Floats x = random_floats(form.size(), 5, 4096, 0.5f);
    for (size_t i = 0; i < x.size(); i += 4) x[i + 1] = 3;  // constant
    x[2] = 1e6f;
    OpRunner op("batch_norm", form.attributes());
    op.input(shape, x).input(form.vector(), form.parameters(2)).input(form.vector(), form.parameters(3));
    const OpRunner result = check_on_gpu(op.output(shape).output(form.vector()).output(form.vector()), 1e-5);
    const Floats variance = result.floats(2);
    CHECK(variance[1] == 0);
    for (const size_t channel : {0, 3}) {
      double mean = 0, expected = 0;
      for (size_t i = channel; i < x.size(); i += 4) mean += x[i];
      mean /= static_cast<double>(shape[0]);
      for (size_t i = channel; i < x.size(); i += 4) expected += (x[i] - mean) * (x[i] - mean);
      CHECK(variance[channel] == doctest::Approx(expected / static_cast<double>(shape[0])).epsilon(1e-6));
    }
  }
}

TEST_CASE("batch_norm on the device: a NaN stays in its channel") {
  for (const Shape& shape : {Shape{30, 8}, {1500, 8}}) {
    const Form form{shape, DataType::float32, 0, "relu", false};
    Floats x = form.values(1);
    x[static_cast<size_t>(form.size()) - 3] = NAN;
    OpRunner op("batch_norm", form.attributes());
    op.input(shape, x).input(form.vector(), form.parameters(2)).input(form.vector(), form.parameters(3));
    const Floats y = check_on_gpu(op.output(shape).output(form.vector()).output(form.vector()), kTolerance).floats();
    for (size_t i = 0; i < y.size(); ++i) CHECK(std::isnan(y[i]) == (i % 8 == 5));
  }
}

// `in_place`: dx, or with a residual dresidual, is dy's memory.
OpRunner backward_of(const Form& form, bool in_place) {
  OpRunner forward = forward_of(form);
  forward.output(form.shape, form.type).output(form.vector()).output(form.vector()).run_on(1);
  const bool activated = std::string(form.activation) != "none";
  OpRunner op("batch_norm_backward", form.attributes());
  op.at_offset(form.offset).input(form.shape, form.values(6), form.type).input(form.shape, form.values(1), form.type);
  op.input(form.vector(), form.parameters(2)).input(form.vector(), forward.floats(1)).input(form.vector(), forward.floats(2));
  if (activated) op.input(form.vector(), form.parameters(3));
  const bool stored = activated && form.residual;
  if (stored) op.input(form.shape, forward.floats(0), form.type);
  in_place && !stored ? op.output_in_place(0) : op.output(form.shape, form.type);
  op.output(form.vector()).output(form.vector());
  if (stored) in_place ? op.output_in_place(0) : op.output(form.shape, form.type);
  return op;
}

TEST_CASE("batch_norm_backward on the device") {
  for_each_form([](const Form& form) {
    // The gradient of one or two normalized values is zero but for epsilon, a difference of terms that are dy / deviation.
    const double terms = form.size() / form.channels() <= 2 ? 1 / std::sqrt(1e-5) : 0;
    check_on_gpu(backward_of(form, false), {kTolerance, terms});
  });
  for (const Shape& shape : {Shape{20, 8}, {1100, 8}}) {
    for (const bool residual : {false, true}) check_on_gpu(backward_of({shape, DataType::float32, 0, "relu", residual}, true), kTolerance);
  }
}

TEST_CASE("batch_norm_inference on the device, and its gradient") {
  for_each_form([](const Form& form) {
    const auto statistics = [&](OpRunner& op) -> OpRunner& {
      return op.input(form.vector(), form.parameters(4)).input(form.vector(), Floats(static_cast<size_t>(form.channels()), 0.7f));
    };
    OpRunner forward("batch_norm_inference", {{"epsilon", 1e-5}});
    forward.at_offset(form.offset).input(form.shape, form.values(1), form.type);
    forward.input(form.vector(), form.parameters(2)).input(form.vector(), form.parameters(3));
    check_on_gpu(statistics(forward).output(form.shape, form.type), kTolerance);
    OpRunner backward("batch_norm_inference_backward", {{"epsilon", 1e-5}});
    backward.at_offset(form.offset).input(form.shape, form.values(6), form.type).input(form.shape, form.values(1), form.type);
    statistics(backward.input(form.vector(), form.parameters(2)));
    check_on_gpu(backward.output(form.shape, form.type).output(form.vector()).output(form.vector()), kTolerance);
  });
}

TEST_CASE("update_running_statistics on the device") {
  for (const int64_t count : {1, 50}) {
    OpRunner op("update_running_statistics", {{"momentum", 0.1}, {"count", count}});
    for (const unsigned seed : {1, 2, 3, 4}) op.input({300}, random_floats(300, seed));
    check_on_gpu(op, 1e-6);
  }
}

TEST_CASE("batch norms on the device refuse what the CPU refuses") {
  const Floats two(2), four(4);
  const auto norm = [&](const char* op, const char* activation, const Shape& shape) {
    OpRunner runner(op, {{"epsilon", 1e-5}, {"activation", activation}});
    return runner.input(shape, Floats(static_cast<size_t>(size_of(shape)))).input({2}, two).input({2}, two);
  };
  check_refused_as_on_cpu(norm("batch_norm", "tanh", {2, 2}).output({2, 2}).output({2}).output({2}));
  check_refused_as_on_cpu(norm("batch_norm", "none", {0, 2}).output({0, 2}).output({2}).output({2}));
  check_refused_as_on_cpu(norm("batch_norm", "none", {2, 2}).output({2, 2}).output({3}).output({2}));
  check_refused_as_on_cpu(norm("batch_norm", "none", {2, 2}).input({2, 3}, Floats(6)).output({2, 2}).output({2}).output({2}));
  check_refused_as_on_cpu(norm("batch_norm_inference", "none", {2, 2}).input({2}, two).input({3}, Floats(3)).output({2, 2}));
  const auto backward = [&](const char* op, const char* activation) {
    OpRunner runner(op, {{"epsilon", 1e-5}, {"activation", activation}});
    return runner.input({2, 2}, four).input({2, 2}, four).input({2}, two).input({2}, two).input({2}, two);
  };
  const auto outputs = [](OpRunner op) { return op.output({2, 2}).output({2}).output({2}); };
  check_refused_as_on_cpu(outputs(backward("batch_norm_backward", "relu")));
  check_refused_as_on_cpu(outputs(backward("batch_norm_backward", "none").no_input().input({2, 2}, four)));
  check_refused_as_on_cpu(outputs(backward("batch_norm_backward", "relu").input({2}, two).input({2, 3}, Floats(6))));
  check_refused_as_on_cpu(backward("batch_norm_inference_backward", "none").output({2, 2}).output({3}).output({2}));
  OpRunner running("update_running_statistics", {{"momentum", 0.1}, {"count", 2}});
  check_refused_as_on_cpu(running.input({2}, two).input({2}, two).input({2}, two).input({3}, Floats(3)));
}

}  // namespace
}  // namespace kw::test
