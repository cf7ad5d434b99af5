// Optimizer steps, on the device as on the CPU.
#include "compare.h"

namespace kw::test {
namespace {

Floats positive(Floats values) {
  for (float& value : values) value = std::fabs(value);
  return values;
}

OpRunner sgd(int64_t count, int64_t decayed, bool nesterov, int64_t offset) {
  OpRunner op("sgd", {{"momentum", 0.9}, {"nesterov", nesterov}, {"decayed", decayed}});
  op.at_offset(offset)
      .input({count}, random_floats(count, 1))
      .input({count}, random_floats(count, 2))
      .input({count}, random_floats(count, 3));
  return op.input({}, Floats{0.1f}).input({}, Floats{0.05f});
}

OpRunner adamw(int64_t count, int64_t decayed, int32_t step, int64_t offset) {
  OpRunner op("adamw", {{"beta1", 0.9}, {"beta2", 0.999}, {"epsilon", 1e-8}, {"decayed", decayed}});
  op.at_offset(offset)
      .input({count}, random_floats(count, 1))
      .input({count}, random_floats(count, 2))
      .input({count}, random_floats(count, 3));
  return op.input({count}, positive(random_floats(count, 4))).input({}, Floats{0.01f}).input({}, Floats{0.05f}).input({}, Integers{step});
}

TEST_CASE("sgd on the device") {
  for (const int64_t offset : {0, 4}) {
    for (const int64_t count : {0, 1, 7, 5003}) {
      for (const int64_t decayed : {int64_t{0}, count / 2, count}) {
        for (const bool nesterov : {false, true}) check_on_gpu(sgd(count, decayed, nesterov, offset), 1e-6);
      }
    }
  }
  check_refused_as_on_cpu(sgd(4, 5, false, 0));
}

TEST_CASE("adamw on the device") {
  for (const int64_t offset : {0, 4}) {
    for (const int64_t count : {0, 1, 7, 5003}) {
      for (const int64_t decayed : {int64_t{0}, count / 2, count}) {
        for (const int32_t step : {1, 2, 100000}) check_on_gpu(adamw(count, decayed, step, offset), 1e-6);
      }
    }
  }
  check_refused_as_on_cpu(adamw(4, -1, 1, 0));
}

TEST_CASE("adamw on the device gives NaN for a step that is not counted from 1") {
  for (const float weight : adamw(5, 0, 0, 0).run_on(gpu()).mutated(0)) CHECK(std::isnan(weight));
}

}  // namespace
}  // namespace kw::test
