// Pooling and its gradients, on the device as on the CPU.
#include "compare.h"

namespace kw::test {
namespace {

const DataType kTypes[] = {DataType::float32, DataType::bfloat16};
const int64_t kOffsets[] = {0, 4};

TEST_CASE("global_avg_pool and its gradient on the device") {
  for (const Shape& shape :
       {Shape{1, 1}, Shape{3, 5}, Shape{1, 7, 7, 67}, Shape{2, 7, 7, 64}, Shape{5, 2, 3, 2, 8}, Shape{2, 6000, 8}, Shape{2, 30000, 1}}) {
    CAPTURE(nlohmann::json(shape).dump());
    const Shape pooled = {shape[0], shape.back()};
    for (const DataType type : kTypes) {
      for (const int64_t offset : kOffsets) {
        const Floats x = random_floats(size_of(shape), 1, 0.5), dy = random_floats(size_of(pooled), 2),
                     sum = random_floats(size_of(shape), 3);
        check_on_gpu(OpRunner("global_avg_pool").at_offset(offset).input(shape, x, type).output(pooled), 2e-6);
        OpRunner backward("global_avg_pool_backward", {{"inputShape", shape}, {"type", name_of(type)}});
        backward.at_offset(offset).input(pooled, dy);
        check_on_gpu(OpRunner(backward).output(shape, type), 0);
        backward.input(shape, sum, type);
        check_on_gpu(OpRunner(backward).output(shape, type), 1e-6);
        check_on_gpu(OpRunner(backward).output_in_place(1), 1e-6);
      }
    }
  }
  check_refused_as_on_cpu(OpRunner("global_avg_pool").input({5}, Floats(5)).output({5}));
  check_refused_as_on_cpu(OpRunner("global_avg_pool").input({2, 3, 5}, Floats(30)).output({2, 3}));
  OpRunner backward("global_avg_pool_backward", {{"inputShape", {2, 3, 5}}, {"type", "float32"}});
  check_refused_as_on_cpu(backward.input({2, 5}, Floats(10)).input({2, 5}, Floats(10)).output({2, 3, 5}));
}

TEST_CASE("adaptive_avg_pool2d and its gradient on the device") {
  struct Case {
    Shape x;
    std::vector<int64_t> size;
  };
  const Case cases[] = {
      {{2, 8, 8, 16}, {2, 2}},                                // windows that do not overlap
      {{2, 7, 5, 67}, {2, 2}},                                // that do, channels one by one
      {{1, 56, 14, 40}, {3, 3}},                              // of several sizes
      {{2, 2, 1, 24}, {7, 7}},                                // more windows than pixels
      {{3, 9, 4, 3}, {1, 5}},    {{1, 30, 30, 520}, {2, 1}},  // several blocks for a window
  };
  for (const Case& each : cases) {
    CAPTURE(nlohmann::json(each.x).dump());
    const Shape pooled = {each.x[0], each.size[0], each.size[1], each.x[3]};
    for (const DataType type : kTypes) {
      for (const int64_t offset : kOffsets) {
        const Floats x = random_floats(size_of(each.x), 1, 0.5), dy = random_floats(size_of(pooled), 2);
        OpRunner forward("adaptive_avg_pool2d", {{"size", each.size}});
        check_on_gpu(forward.at_offset(offset).input(each.x, x, type).output(pooled), 2e-6);
        OpRunner backward("adaptive_avg_pool2d_backward", {{"inputSize", {each.x[1], each.x[2]}}, {"type", name_of(type)}});
        check_on_gpu(backward.at_offset(offset).input(pooled, dy).output(each.x, type), 1e-6);
      }
    }
  }
  OpRunner triple("adaptive_avg_pool2d", {{"size", {2, 2, 2}}});
  check_refused_as_on_cpu(triple.input({1, 4, 4, 1}, Floats(16)).output({1, 2, 2, 1}));
  OpRunner other("adaptive_avg_pool2d", {{"size", {2, 2}}});
  check_refused_as_on_cpu(other.input({1, 4, 4, 1}, Floats(16)).output({1, 2, 3, 1}));
  OpRunner empty("adaptive_avg_pool2d", {{"size", {2, 2}}});
  check_refused_as_on_cpu(empty.input({1, 0, 4, 1}, Floats()).output({1, 2, 2, 1}));
  OpRunner backward("adaptive_avg_pool2d_backward", {{"inputSize", {4, 5}}, {"type", "float32"}});
  check_refused_as_on_cpu(backward.input({1, 2, 2, 1}, Floats(4)).output({1, 4, 4, 1}));
}

struct Pool {
  Shape x;
  std::vector<int64_t> kernel, stride, padding;

  nlohmann::json attributes() const { return {{"kernel", kernel}, {"stride", stride}, {"padding", padding}}; }
  Shape y() const {
    Shape shape = x;
    for (size_t axis = 0; axis < 2; ++axis) shape[axis + 1] = (x[axis + 1] + 2 * padding[axis] - kernel[axis]) / stride[axis] + 1;
    return shape;
  }
};

const Pool kPools[] = {
    {{2, 8, 8, 16}, {3, 3}, {2, 2}, {1, 1}},                                          // of a ResNet
    {{1, 7, 9, 5}, {3, 2}, {2, 3}, {1, 0}},                                           // windows that leave pixels out
    {{3, 6, 5, 1}, {2, 2}, {2, 2}, {0, 0}},  {{1, 5, 5, 8}, {3, 5}, {1, 1}, {1, 2}},  // overlapping windows
    {{2, 4, 4, 3}, {1, 1}, {3, 3}, {0, 0}},  {{0, 4, 4, 3}, {2, 2}, {2, 2}, {0, 0}},
};

// Few different values, so that many windows have several largest; one that is no number.
Floats pooled_values(const Shape& shape) {
  Floats x = random_floats(size_of(shape), 1);
  for (float& value : x) value = std::round(value * 2) / 2;
  if (x.size() > 20) x[20] = NAN;
  return x;
}

TEST_CASE("max_pool2d on the device") {
  for (const Pool& pool : kPools) {
    CAPTURE(nlohmann::json(pool.x).dump());
    for (const DataType type : kTypes) {
      for (const int64_t offset : kOffsets) {
        OpRunner op("max_pool2d", pool.attributes());
        check_on_gpu(
            op.at_offset(offset).input(pool.x, pooled_values(pool.x), type).output(pool.y(), type).output(pool.y(), DataType::int32), 0);
      }
    }
  }
  for (const std::vector<int64_t>& padding : {std::vector<int64_t>{2, 2}, std::vector<int64_t>{1}}) {
    OpRunner op("max_pool2d", {{"kernel", {3, 3}}, {"stride", {2, 2}}, {"padding", padding}});
    check_refused_as_on_cpu(op.input({1, 4, 4, 1}, Floats(16)).output({1, 2, 2, 1}).output({1, 2, 2, 1}, DataType::int32));
  }
}

TEST_CASE("The gradient of max_pool2d on the device, after the step that made its indices and without it") {
  for (const Pool& pool : kPools) {
    CAPTURE(nlohmann::json(pool.x).dump());
    for (const DataType type : kTypes) {
      for (const int64_t offset : kOffsets) {
        const Floats dy = random_floats(size_of(pool.y()), 2);
        const nlohmann::json attributes = {{"inputSize", {pool.x[1], pool.x[2]}}};
        OpRunner both("max_pool2d", pool.attributes());
        both.at_offset(offset).input(pool.x, pooled_values(pool.x), type).output(pool.y(), type).output(pool.y(), DataType::int32);
        const OpRunner forward = OpRunner(both).run_on(1);
        both.then("max_pool2d_backward", attributes).input(pool.y(), dy, type).input_tensor(2).output(pool.x, type);
        check_on_gpu(both, 0);
        OpRunner alone("max_pool2d_backward", attributes);
        check_on_gpu(alone.at_offset(offset).input(pool.y(), dy, type).input(pool.y(), forward.integers(1)).output(pool.x, type), 0);
      }
    }
  }
  OpRunner refused("max_pool2d_backward", {{"inputSize", {4}}});
  check_refused_as_on_cpu(refused.input({1, 2, 2, 1}, Floats(4)).input({1, 2, 2, 1}, Integers(4)).output({1, 4, 4, 1}));
}

}  // namespace
}  // namespace kw::test
