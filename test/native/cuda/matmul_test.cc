// Matrix products on the device as on the CPU, in float32 and with operands rounded to TF32.
#include "compare.h"
#include "cuda/kernels/primitives.cuh"

namespace kw::test {
namespace {

struct Product {
  int64_t rows, inner, columns;
  bool transpose_a, transpose_b, bias;
  int64_t offset;  // of the tensors in their buffers, in bytes

  OpRunner op(bool rounded_to_tf32) const {
    const auto values = [&](int64_t size, unsigned seed) {
      Floats numbers = random_floats(size, seed);
      if (rounded_to_tf32) {
        for (float& number : numbers) number = cuda::device::bits_to_float(cuda::device::to_tf32(number));
      }
      return numbers;
    };
    OpRunner runner("matmul", {{"transposeA", transpose_a}, {"transposeB", transpose_b}});
    runner.at_offset(offset);
    runner.input(transpose_a ? Shape{inner, rows} : Shape{rows, inner}, values(rows * inner, 1));
    runner.input(transpose_b ? Shape{columns, inner} : Shape{inner, columns}, values(inner * columns, 2));
    if (bias) runner.input({columns}, random_floats(columns, 3));
    return runner.output({rows, columns});
  }
};

// One, around a tile, in packs and not; depths in several parts; a grid of large tiles.
std::vector<Product> products() {
  std::vector<Product> all = {{1, 1, 1, false, false, false, 0},      {1, 2048, 10, false, true, true, 0},
                              {16, 5000, 8, true, false, false, 0},   {130, 20, 66, false, true, true, 4},
                              {1500, 20, 1400, false, true, true, 0}, {1409, 9, 1531, true, false, false, 0}};
  for (const bool transpose_a : {false, true}) {
    for (const bool transpose_b : {false, true}) {
      all.push_back({70, 33, 67, transpose_a, transpose_b, true, 0});
      all.push_back({64, 272, 100, transpose_a, transpose_b, false, 0});
    }
  }
  return all;
}

// Sums of `inner` terms, of which CPU and device add up different ones first.
double tolerance(const Product& product) { return 1e-6 * std::sqrt(static_cast<double>(product.inner)); }

TEST_CASE("matmul on the device") {
  for (const Product& product : products()) {
    CAPTURE(product.rows);
    CAPTURE(product.inner);
    check_on_gpu(product.op(false), tolerance(product));
  }
}

TEST_CASE("matmul on the device with TF32") {
  Device device("test", cuda::open_backend({.tf32 = true}));
  for (const Product& product : products()) {
    CAPTURE(product.rows);
    CAPTURE(product.inner);
    const Floats exact = product.op(false).run_on(1).floats();
    // operands that are TF32 already: the same product
    const Floats expected = product.op(true).run_on(1).floats();
    for_each_schedule([&] {
      check_values("rounded before", product.op(true).run_on(device).floats(), expected, DataType::float32, tolerance(product));
      check_values("rounded to nearest", product.op(false).run_on(device).floats(), expected, DataType::float32, tolerance(product));
    });
    CHECK(exact != expected);
  }
}

TEST_CASE("matmul on the device: infinities and NaN where they belong, and nowhere else") {
  OpRunner op("matmul", {{"transposeA", false}, {"transposeB", true}});
  Floats a = random_floats(5 * 18, 1), b = random_floats(70 * 18, 2);
  a[17] = HUGE_VALF;
  b[40 * 18 + 3] = NAN;
  check_on_gpu(op.input({5, 18}, a).input({70, 18}, b).output({5, 70}), 1e-5);
}

TEST_CASE("matmul on the device refuses what the CPU refuses") {
  const auto op = [](const Shape& a, const Shape& b, const Shape& c) {
    OpRunner runner("matmul", {{"transposeA", false}, {"transposeB", false}});
    check_refused_as_on_cpu(
        runner.input(a, Floats(static_cast<size_t>(size_of(a)))).input(b, Floats(static_cast<size_t>(size_of(b)))).output(c));
  };
  op({2, 3}, {2, 4}, {2, 4});
  op({2, 3}, {3, 4}, {4, 2});
  op({2, 0}, {0, 4}, {2, 4});
  op({6}, {3, 4}, {2, 4});
}

}  // namespace
}  // namespace kw::test
