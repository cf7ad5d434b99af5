// Tensors with their axes in another order, on the device as on the CPU.
#include "compare.h"

namespace kw::test {
namespace {

TEST_CASE("transpose on the device") {
  const std::pair<Shape, std::vector<int64_t>> forms[] = {
      {{2, 9, 67}, {0, 2, 1}},       // positions and channels exchanged
      {{3, 9, 40}, {1, 0, 2}},       // whole rows of channels moved
      {{5, 2, 8, 9}, {1, 0, 3, 2}},  // both
      {{4, 3, 2, 5, 3}, {4, 3, 2, 1, 0}},
      {{2, 3, 4}, {0, 1, 2}},
      {{1, 7, 1, 5}, {3, 2, 1, 0}},
      {{37, 1}, {1, 0}},
      {{300, 200}, {1, 0}},
      {{}, {}},
      {{0, 3}, {1, 0}},
  };
  for (const auto& [shape, axes] : forms) {
    CAPTURE(nlohmann::json(axes).dump());
    Shape ordered;
    for (const int64_t axis : axes) ordered.push_back(shape[static_cast<size_t>(axis)]);
    for (const DataType type : {DataType::float32, DataType::bfloat16}) {
      for (const int64_t offset : {0, 4}) {
        OpRunner op("transpose", {{"axes", axes}});
        check_on_gpu(op.at_offset(offset).input(shape, random_floats(size_of(shape), 1), type).output(ordered, type), 0);
      }
    }
  }
}

TEST_CASE("transpose on the device refuses what does not fit") {
  for (const std::vector<int64_t>& axes : {std::vector<int64_t>{0}, {0, 0}, {0, 2}, {-1, 0}}) {
    OpRunner op("transpose", {{"axes", axes}});
    check_refused_as_on_cpu(op.input({2, 3}, Floats(6)).output({3, 2}));
  }
  check_refused_as_on_cpu(OpRunner("transpose", {{"axes", {1, 0}}}).input({2, 3}, Floats(6)).output({2, 3}));
  check_refused_as_on_cpu(OpRunner("transpose", {{"axes", {1, 0}}}).input({2, 3}, Integers(6)).output({3, 2}, DataType::int32));
  const Shape many(9, 2);
  OpRunner too_many("transpose", {{"axes", {8, 7, 6, 5, 4, 3, 2, 1, 0}}});
  CHECK_THROWS_WITH_AS(too_many.input(many, Floats(512)).output(many).run_on(gpu()),
                       "[transpose] test: expected at most 8 axes that are apart in x but received 9", Error);
}

}  // namespace
}  // namespace kw::test
