// Products with factors that are the same along some axes, and sums over axes, on the device as on the CPU.
#include "compare.h"

namespace kw::test {
namespace {

const DataType kTypes[] = {DataType::float32, DataType::bfloat16};
const int64_t kOffsets[] = {0, 4};

TEST_CASE("multiply and the gradient of its factor on the device") {
  const std::vector<std::pair<Shape, Shape>> forms = {
      {{2, 5, 7, 24}, {1, 1, 1, 24}},            // layer scale
      {{400, 3}, {1, 3}},                        // of an odd number of channels, in several parts
      {{6000, 32}, {1, 32}},                     // in several parts
      {{3, 7, 7, 40}, {3, 1, 1, 40}},            // channel gates of each sample
      {{4, 6, 6, 32}, {4, 6, 6, 1}},             // position gates
      {{1, 6, 6, 67}, {1, 6, 6, 1}},             // of an odd number of channels
      {{2, 6, 3, 3, 16}, {2, 1, 3, 3, 1}},       // kernel gates of each sample
      {{2, 30, 3, 3, 1}, {2, 1, 3, 3, 1}},       // of a depth-wise convolution
      {{2, 8, 3, 3, 32}, {2, 8, 1, 1, 1}},       // filter gates
      {{3, 7, 5, 2, 4, 3}, {1, 7, 1, 2, 1, 3}},  // kept and summed in turn, beginning with summed
      {{3, 7, 5, 2, 4, 8}, {3, 1, 5, 1, 4, 1}},  // beginning with kept
      {{2, 40, 3, 64}, {2, 1, 3, 1}},            // several runs of a thread over two summed axes
      {{40, 2, 30, 16}, {1, 2, 1, 16}},          // the same beside each other
      {{4, 5, 30}, {4, 5, 30}},                  // element-wise
      {{90, 40, 30}, {1, 1, 1}},                 // one factor for all, in several parts
      {{1, 37}, {1, 1}},
      {{1, 1}, {1, 1}},
      {{}, {}},
  };
  for (const auto& [shape, factor_shape] : forms) {
    CAPTURE(nlohmann::json(shape).dump());
    CAPTURE(nlohmann::json(factor_shape).dump());
    const Floats x = random_floats(size_of(shape), 1), factor = random_floats(size_of(factor_shape), 2),
                 dy = random_floats(size_of(shape), 3);
    for (const DataType type : kTypes) {
      for (const int64_t offset : kOffsets) {
        OpRunner forward("multiply"), backward("multiply_backward_factor", {{"factorShape", factor_shape}});
        forward.at_offset(offset).input(shape, x, type).input(factor_shape, factor);
        check_on_gpu(OpRunner(forward).output(shape, type), 0);
        check_on_gpu(forward.output_in_place(0), 0);
        // A sum's error grows with its terms, whose signs differ here.
        backward.at_offset(offset).input(shape, dy, type).input(shape, x, type).output(factor_shape);
        check_on_gpu(backward, 1e-5);
      }
    }
  }
}

TEST_CASE("multiply on the device takes an empty x and refuses what does not fit") {
  check_on_gpu(OpRunner("multiply").input({0, 3}, Floats()).input({1, 3}, Floats(3)).output({0, 3}), 0);
  check_refused_as_on_cpu(OpRunner("multiply").input({2, 3}, Floats(6)).input({3}, Floats(3)).output({2, 3}));
  check_refused_as_on_cpu(OpRunner("multiply").input({2, 3}, Floats(6)).input({2, 2}, Floats(4)).output({2, 3}));
  OpRunner backward("multiply_backward_factor", {{"factorShape", {2, 1}}});
  check_refused_as_on_cpu(backward.input({2, 0}, Floats()).input({2, 0}, Floats()).output({2, 1}));
  const Shape many(9, 2), alternating = {2, 1, 2, 1, 2, 1, 2, 1, 2};
  OpRunner too_many("multiply");
  too_many.input(many, Floats(512)).input(alternating, Floats(32)).output(many);
  CHECK_THROWS_WITH_AS(
      too_many.run_on(gpu()),
      "[multiply] test: expected at most 8 changes between axes along which factor [2, 1, 2, 1, 2, 1, 2, 1, 2] varies and others", Error);
}

TEST_CASE("sum_rows on the device") {
  for (const DataType type : kTypes) {
    for (const int64_t offset : kOffsets) {
      for (const Shape& shape :
           {Shape{1}, Shape{5}, Shape{7, 1}, Shape{1, 3}, Shape{30000, 1}, Shape{2, 5, 67}, Shape{9000, 16}, Shape{40, 600}}) {
        CAPTURE(nlohmann::json(shape).dump());
        const Floats x = random_floats(size_of(shape), 1, 0.5);
        check_on_gpu(OpRunner("sum_rows").at_offset(offset).input(shape, x, type).output({shape.back()}), 2e-6);
      }
    }
  }
  check_refused_as_on_cpu(OpRunner("sum_rows").input({0, 3}, Floats()).output({3}));
  check_refused_as_on_cpu(OpRunner("sum_rows").input({2, 3}, Floats(6)).output({2}));
}

TEST_CASE("sum_of_squares on the device") {
  for (const int64_t offset : kOffsets) {
    for (const int64_t count : {0, 1, 5, 64, 30001, 70000}) {
      check_on_gpu(OpRunner("sum_of_squares").at_offset(offset).input({count}, random_floats(count, 1)).output({}), 1e-7);
    }
  }
  // A square beyond the range of float32 is no obstacle, the sum of them is.
  check_on_gpu(OpRunner("sum_of_squares").input({3}, Floats{1e19f, 1e-25f, 3}).output({}), 1e-7);
  check_on_gpu(OpRunner("sum_of_squares").input({2}, Floats{NAN, 1}).output({}), 0);
  check_refused_as_on_cpu(OpRunner("sum_of_squares").input({2}, Integers(2)).output({}));
}

}  // namespace
}  // namespace kw::test
