// Ops that treat every element alike, on the device as on the CPU.
#include "compare.h"

namespace kw::test {
namespace {

const DataType kTypes[] = {DataType::float32, DataType::bfloat16};
// Bytes before a tensor: at a multiple of 16 for packs of elements, and not.
const int64_t kOffsets[] = {0, 4};

TEST_CASE("add on the device") {
  for (const DataType type : kTypes) {
    for (const int64_t offset : kOffsets) {
      for (const Shape& shape : {Shape{}, Shape{0, 4}, Shape{1, 1, 1, 3}, Shape{2, 5, 7, 67}, Shape{3, 4, 4, 64}, Shape{70001}}) {
        CAPTURE(nlohmann::json(shape).dump());
        const Floats a = random_floats(size_of(shape), 1), b = random_floats(size_of(shape), 2);
        check_on_gpu(OpRunner("add").at_offset(offset).input(shape, a, type).input(shape, b, type).output(shape, type), 0);
        check_on_gpu(OpRunner("add").at_offset(offset).input(shape, a, type).input(shape, b, type).output_in_place(1), 0);
      }
    }
  }
  check_refused_as_on_cpu(OpRunner("add").input({2}, Floats(2)).input({3}, Floats(3)).output({2}));
  check_refused_as_on_cpu(OpRunner("add").input({2}, Integers(2)).input({2}, Integers(2)).output({2}, DataType::int32));
}

TEST_CASE("add_bias on the device") {
  for (const DataType type : kTypes) {
    for (const int64_t offset : kOffsets) {
      for (const Shape& shape : {Shape{1}, Shape{9, 1}, Shape{1, 3}, Shape{2, 5, 67}, Shape{3, 5, 64}, Shape{40, 12}}) {
        CAPTURE(nlohmann::json(shape).dump());
        OpRunner op("add_bias");
        op.at_offset(offset).input(shape, random_floats(size_of(shape), 1), type).input({shape.back()}, random_floats(shape.back(), 2));
        check_on_gpu(OpRunner(op).output(shape, type), 0);
        check_on_gpu(OpRunner(op).output_in_place(0), 0);
      }
    }
  }
  check_refused_as_on_cpu(OpRunner("add_bias").input({2, 3}, Floats(6)).input({2}, Floats(2)).output({2, 3}));
}

TEST_CASE("cast on the device") {
  const float infinity = HUGE_VALF;
  for (const DataType from : kTypes) {
    for (const DataType to : kTypes) {
      for (const int64_t offset : kOffsets) {
        for (const int64_t count : {0, 1, 7, 64, 1003}) {
          Floats x = random_floats(count, 1);
          if (count > 4) x[0] = NAN, x[1] = infinity, x[2] = -infinity, x[3] = -0.0f, x[4] = 1.00390625f;  // the last halfway between two
          check_on_gpu(OpRunner("cast", {{"type", name_of(to)}}).at_offset(offset).input({count}, x, from).output({count}, to), 0);
        }
      }
    }
  }
  check_refused_as_on_cpu(OpRunner("cast", {{"type", "float32"}}).input({2}, Floats(2)).output({2}, DataType::bfloat16));
}

TEST_CASE("fill and copy on the device") {
  for (const int64_t offset : kOffsets) {
    for (const int64_t count : {0, 1, 6, 4099}) {
      check_on_gpu(OpRunner("fill", {{"shape", {count}}, {"value", 0.3}}).at_offset(offset).output({count}), 0);
      const Floats x = random_floats(count, 1), y = random_floats(count, 2);
      check_on_gpu(OpRunner("copy").at_offset(offset).input({count}, x).input({count}, y), 0);
    }
  }
  check_on_gpu(OpRunner("copy").input({3}, Integers{1, 2, 3}).input({3}, Integers{4, 5, 6}), 0);
  check_refused_as_on_cpu(OpRunner("copy").input({2}, Floats(2)).input({3}, Floats(3)));
}

TEST_CASE("slice, its gradient and concat on the device") {
  struct Part {
    int64_t channels, start, end;
  };
  for (const DataType type : kTypes) {
    for (const int64_t offset : kOffsets) {
      for (const Part part : {Part{1, 0, 1}, Part{5, 2, 3}, Part{67, 3, 67}, Part{64, 16, 48}, Part{8, 2, 6}, Part{6, 4, 4}}) {
        CAPTURE(part.channels);
        CAPTURE(part.start);
        const Shape shape = {3, 5, part.channels}, sliced = {3, 5, part.end - part.start};
        OpRunner slice("slice", {{"start", part.start}, {"end", part.end}});
        check_on_gpu(slice.at_offset(offset).input(shape, random_floats(size_of(shape), 1), type).output(sliced, type), 0);
        if (part.start == part.end) continue;
        OpRunner backward("slice_backward", {{"start", part.start}, {"size", part.channels}});
        check_on_gpu(backward.at_offset(offset).input(sliced, random_floats(size_of(sliced), 2), type).output(shape, type), 0);
      }
      for (const std::vector<int64_t>& widths : {std::vector<int64_t>{3}, {16, 8, 32}, {5, 1, 62}}) {
        OpRunner concat("concat");
        concat.at_offset(offset);
        int64_t channels = 0;
        for (const int64_t width : widths) {
          concat.input({7, width}, random_floats(7 * width, static_cast<unsigned>(width)), type);
          channels += width;
        }
        check_on_gpu(concat.output({7, channels}, type), 0);
      }
    }
  }
  check_on_gpu(OpRunner("slice", {{"start", 0}, {"end", 5}}).input({2, 5}, random_floats(10, 1)).output_in_place(0), 0);
  check_refused_as_on_cpu(OpRunner("slice", {{"start", 1}, {"end", 4}}).input({2, 3}, Floats(6)).output({2, 3}));
  check_refused_as_on_cpu(OpRunner("slice_backward", {{"start", 2}, {"size", 4}}).input({2, 3}, Floats(6)).output({2, 4}));
  check_refused_as_on_cpu(OpRunner("concat").input({2, 3}, Floats(6)).input({2, 1}, Floats(2)).output({2, 5}));
  check_refused_as_on_cpu(OpRunner("slice", {{"start", 0}, {"end", 1}}).input({2, 3}, Integers(6)).output({2, 1}, DataType::int32));
}

}  // namespace
}  // namespace kw::test
