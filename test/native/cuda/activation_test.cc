// Activations and their gradients, on the device as on the CPU.
#include "compare.h"

namespace kw::test {
namespace {

// Values around and far from the places where activations bend; the first are not finite.
Floats some_inputs(int64_t count) {
  const Floats special = {NAN, HUGE_VALF, -HUGE_VALF, 0.0f, -0.0f, 6.0f, 1e-30f, -9.0f, -13.0f, 20.0f, -100.0f, 100.0f};
  Floats x = random_floats(count, 1, 0, 4);
  std::copy_n(special.begin(), std::min(special.size(), x.size()), x.begin());
  return x;
}

// Where the CPU rounds exp otherwise, results differ by the tolerance.
void check_activation(const std::string& name, double tolerance) {
  for (const DataType type : {DataType::float32, DataType::bfloat16}) {
    for (const int64_t offset : {0, 4}) {
      for (const int64_t count : {0, 1, 5, 64, 4099}) {
        CAPTURE(count);
        OpRunner forward(name), backward(name + "_backward");
        forward.at_offset(offset).input({count}, some_inputs(count), type);
        check_on_gpu(OpRunner(forward).output({count}, type), tolerance);
        backward.at_offset(offset).input({count}, random_floats(count, 2), type).input({count}, some_inputs(count), type);
        check_on_gpu(OpRunner(backward).output({count}, type), tolerance);
        if (count == 64) {
          check_on_gpu(forward.output_in_place(0), tolerance);
          check_on_gpu(backward.output_in_place(0), tolerance);
        }
      }
    }
  }
  check_refused_as_on_cpu(OpRunner(name).input({2}, Floats(2)).output({3}));
  check_refused_as_on_cpu(OpRunner(name + "_backward").input({2}, Floats(2)).input({3}, Floats(3)).output({2}));
}

TEST_CASE("relu on the device") { check_activation("relu", 0); }

TEST_CASE("relu6 on the device") { check_activation("relu6", 0); }

TEST_CASE("sigmoid on the device") { check_activation("sigmoid", 1e-6); }

TEST_CASE("gelu on the device") { check_activation("gelu", 1e-6); }

// Elementwise relative errors, since the mean of a tensor of such values would hide them.
TEST_CASE("gelu on the device keeps its relative accuracy where it is tiny") {
  const Floats x = {-1, -2, -3, -4, -5, -6, -7, -8, -9, -10, -11, -12};
  const Floats y = OpRunner("gelu").input({12}, x).output({12}).run_on(gpu()).floats();
  for (size_t i = 0; i < x.size(); ++i) {
    const double expected = 0.5 * x[i] * std::erfc(-x[i] / std::sqrt(2.0));
    CHECK(std::fabs(y[i] - expected) < 1e-6 * std::fabs(expected));
  }
}

}  // namespace
}  // namespace kw::test
