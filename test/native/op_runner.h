// Runs one op of the CPU backend on given arrays, for the native tests: every tensor in a buffer of exactly its size, on 1, 2 and 3
// threads, whose results must agree to the bit. Also the references' tools: random arrays, comparison, numeric derivatives.
#pragma once

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "cpu/bfloat16.h"
#include "cpu/cpu_backend.h"
#include "runtime/device.h"

namespace kw::test {

using Floats = std::vector<float>;
using Integers = std::vector<int32_t>;
using Doubles = std::vector<double>;
using Shape = std::vector<int64_t>;
using Bytes = std::vector<std::byte>;

inline int64_t size_of(const Shape& shape) {
  int64_t size = 1;
  for (const int64_t extent : shape) size *= extent;
  return size;
}

class OpRunner {
 public:
  OpRunner(const std::string& op, nlohmann::json attributes = nlohmann::json::object()) {
    plan_.buffers.push_back({"workspace", 0});
    contents_.emplace_back();
    begin_step(op, std::move(attributes));
  }
  // Another op after the one so far, in the same program; what follows is about the new one.
  OpRunner& then(const std::string& op, nlohmann::json attributes = nlohmann::json::object()) {
    earlier_.push_back(step_);
    begin_step(op, std::move(attributes));
    return *this;
  }

  OpRunner& input(const Shape& shape, const Floats& values) { return add_input(shape, DataType::float32, values.data(), values.size()); }
  OpRunner& input(const Shape& shape, const Integers& values) { return add_input(shape, DataType::int32, values.data(), values.size()); }
  // Floating-point values that are stored as `type`.
  OpRunner& input(const Shape& shape, const Floats& values, DataType type) {
    if (type == DataType::float32) return input(shape, values);
    const std::vector<cpu::bfloat16> stored(values.begin(), values.end());
    return add_input(shape, type, stored.data(), stored.size());
  }
  // A tensor of the op before, by its index in the plan.
  OpRunner& input_tensor(int tensor) {
    step_.inputs.push_back(tensor);
    return *this;
  }
  // Leaves an optional input away.
  OpRunner& no_input() {
    step_.inputs.push_back(-1);
    return *this;
  }
  OpRunner& output(const Shape& shape, DataType type = DataType::float32) {
    step_.outputs.push_back(add_tensor(shape, type, Bytes(static_cast<size_t>(size_of(shape) * element_bytes(type)), std::byte{0xff})));
    return *this;
  }
  // An output in the memory of an input.
  OpRunner& output_in_place(size_t position) {
    step_.outputs.push_back(step_.inputs[position]);
    return *this;
  }

  // Tensors added from here on begin `offset` bytes into their buffers, a multiple of 4 as in a plan.
  OpRunner& at_offset(int64_t offset) {
    offset_ = offset;
    return *this;
  }

  OpRunner& run() {
    const std::vector<Bytes> before = contents_;
    run_with(1);
    const std::vector<Bytes> expected = contents_;
    for (const int threads : {2, 3}) {
      contents_ = before;
      run_with(threads);
      CHECK_MESSAGE(contents_ == expected, step_.op, " differs between 1 and ", threads, " threads");
    }
    return *this;
  }

  // Once, for ops whose sums are divided among threads.
  OpRunner& run_on(int threads) {
    run_with(threads);
    return *this;
  }

  // On a backend of any kind, as a program: twice, since a GPU records the first run and replays it. Both must agree to the bit.
  OpRunner& run_on(const std::shared_ptr<Backend>& backend) {
    Device device("test", backend);
    return run_on(device);
  }
  OpRunner& run_on(Device& device) {
    const std::vector<Bytes> before = contents_;
    plan_.steps = steps();
    const std::shared_ptr<Program> program = device.create_program(plan_);
    run_program(device, program);
    const std::vector<Bytes> expected = contents_;
    contents_ = before;
    run_program(device, program);
    CHECK_MESSAGE(contents_ == expected, step_.op, " differs between two runs");
    return *this;
  }

  const Plan& plan() const { return plan_; }
  const Step& step() const { return step_; }
  // Of every buffer, in the plan's order.
  const std::vector<Bytes>& contents() const { return contents_; }
  // Of a tensor by its index in the plan.
  Floats tensor_floats(int tensor) const { return floats_of(tensor); }
  Integers tensor_integers(int tensor) const { return values_of<int32_t>(tensor); }
  Floats floats(size_t output = 0) const { return floats_of(step_.outputs[output]); }
  Integers integers(size_t output = 0) const { return values_of<int32_t>(step_.outputs[output]); }
  Floats mutated(size_t input) const { return floats_of(step_.inputs[input]); }

 private:
  void begin_step(const std::string& op, nlohmann::json attributes) {
    step_ = Step();
    step_.op = op;
    step_.label = "test";
    step_.attributes = std::make_shared<const nlohmann::json>(std::move(attributes));
  }

  std::vector<Step> steps() const {
    std::vector<Step> steps = earlier_;
    steps.push_back(step_);
    return steps;
  }

  int add_tensor(const Shape& shape, DataType type, Bytes bytes) {
    plan_.tensors.push_back({type, shape, static_cast<int>(plan_.buffers.size()), offset_});
    bytes.insert(bytes.begin(), static_cast<size_t>(offset_), std::byte{0xff});
    plan_.buffers.push_back({"b" + std::to_string(plan_.buffers.size()), static_cast<int64_t>(bytes.size())});
    contents_.push_back(std::move(bytes));
    return static_cast<int>(plan_.tensors.size()) - 1;
  }

  OpRunner& add_input(const Shape& shape, DataType type, const void* values, size_t count) {
    REQUIRE(static_cast<int64_t>(count) == size_of(shape));
    Bytes bytes(count * static_cast<size_t>(element_bytes(type)));
    if (count > 0) std::memcpy(bytes.data(), values, bytes.size());
    step_.inputs.push_back(add_tensor(shape, type, std::move(bytes)));
    return *this;
  }

  void run_with(int threads) {
    ProgramResources resources;
    plan_.steps = steps();
    std::vector<std::unique_ptr<Kernel>> kernels;
    for (const Step& step : plan_.steps) kernels.push_back(cpu::registry().prepare(StepContext(plan_, step, threads, resources)));
    const std::unique_ptr<void, decltype(&std::free)> scratch(std::aligned_alloc(64, (resources.scratch_bytes + 63) / 64 * 64), &std::free);
    Memory memory;
    memory.scratch_ = static_cast<std::byte*>(scratch.get());
    for (Bytes& bytes : contents_) memory.bases_.push_back(bytes.data());
    memory.versions_.assign(contents_.size(), 1);
    for (const auto& kernel : kernels) kernel->run(memory);
  }

  void run_program(Device& device, const std::shared_ptr<Program>& program) {
    std::vector<std::shared_ptr<Buffer>> buffers;
    for (size_t index = 1; index < contents_.size(); ++index) {
      buffers.push_back(device.create_buffer(contents_[index].size()));
      device.write(buffers.back(), 0, contents_[index].data(), contents_[index].size(), {});
      program->bind(plan_.buffers[index].name, buffers.back());
    }
    device.run(program, false, {});
    for (size_t index = 1; index < contents_.size(); ++index) {
      device.read(buffers[index - 1], 0, contents_[index].data(), contents_[index].size(), {});
    }
    device.synchronize();
  }

  Floats floats_of(int tensor) const {
    if (plan_.tensors[static_cast<size_t>(tensor)].type == DataType::float32) return values_of<float>(tensor);
    const std::vector<cpu::bfloat16> stored = values_of<cpu::bfloat16>(tensor);
    return {stored.begin(), stored.end()};
  }

  template <class T>
  std::vector<T> values_of(int tensor) const {
    const Tensor& place = plan_.tensors[static_cast<size_t>(tensor)];
    std::vector<T> values(static_cast<size_t>(place.elements()));
    if (!values.empty())
      std::memcpy(values.data(), contents_[static_cast<size_t>(place.buffer)].data() + place.offset, values.size() * sizeof(T));
    return values;
  }

  Plan plan_;
  std::vector<Step> earlier_;
  Step step_;  // the last
  std::vector<Bytes> contents_;
  int64_t offset_ = 0;
};

// Normal numbers; the same for the same seed.
inline Floats random_floats(int64_t count, unsigned seed, float mean = 0, float deviation = 1) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(mean, deviation);
  Floats values(static_cast<size_t>(count));
  for (float& value : values) value = normal(generator);
  return values;
}

// What `type` keeps of values.
inline Floats rounded(Floats values, DataType type) {
  if (type == DataType::bfloat16) {
    for (float& value : values) value = cpu::bfloat16(value);
  }
  return values;
}

inline Doubles widen(const Floats& values) { return {values.begin(), values.end()}; }

// Each element within tolerance * (1 + |expected|).
inline void check_close(const Floats& actual, const Doubles& expected, double tolerance) {
  REQUIRE(actual.size() == expected.size());
  double worst = 0;
  size_t where = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double error = std::fabs(actual[i] - expected[i]) / (1 + std::fabs(expected[i]));
    if (!(error <= worst)) worst = error, where = i;
  }
  if (!actual.empty()) CHECK_MESSAGE(worst <= tolerance, "element ", where, ": ", actual[where], " instead of ", expected[where]);
}

// sum(weights * values): turns a function of arrays into one with a gradient.
inline double weighted_sum(const Floats& weights, const Doubles& values) {
  double sum = 0;
  for (size_t i = 0; i < values.size(); ++i) sum += weights[i] * values[i];
  return sum;
}

// Checks `gradient` against central differences of `function` at `point`, at up to 24 elements spread over it.
template <class Function>
void check_gradient(const Floats& gradient, const Floats& point, const Function& function, double tolerance = 1e-4) {
  REQUIRE(gradient.size() == point.size());
  Doubles moved = widen(point);
  Floats actual;
  Doubles expected;
  const size_t stride = std::max<size_t>(1, point.size() / 24);
  for (size_t i = 0; i < point.size(); i += stride) {
    const double step = 1e-5 * (1 + std::fabs(point[i]));
    moved[i] = point[i] + step;
    const double above = function(moved);
    moved[i] = point[i] - step;
    const double below = function(moved);
    moved[i] = point[i];
    actual.push_back(gradient[i]);
    expected.push_back((above - below) / (2 * step));
  }
  check_close(actual, expected, tolerance);
}

}  // namespace kw::test
