// Dropout on the device drops and keeps what the CPU does.
#include "compare.h"

namespace kw::test {
namespace {

TEST_CASE("dropout on the device has the CPU's bits") {
  struct Form {
    Shape shape;
    bool per_sample;
  };
  const Form forms[] = {{{}, false},       {{0}, false},     {{1}, false}, {{7, 9}, false}, {{4099}, false},
                        {{9, 4, 8}, true}, {{10, 67}, true}, {{5}, true},  {{0, 4}, true}};
  for (const Form& form : forms) {
    CAPTURE(nlohmann::json(form.shape).dump());
    for (const DataType type : {DataType::float32, DataType::bfloat16}) {
      for (const int64_t offset : {0, 4}) {
        for (const double probability : {0.0, 0.3, 0.9999}) {
          OpRunner op("dropout", {{"probability", probability}, {"perSample", form.per_sample}, {"stream", 3}});
          Floats x = random_floats(size_of(form.shape), 1);
          if (x.size() > 8) x[8] = HUGE_VALF;  // a dropped value is 0 whatever it was
          op.at_offset(offset).input(form.shape, x, type).input({}, Integers{-12345}).input({}, Integers{77});
          check_on_gpu(OpRunner(op).output(form.shape, type), 0);
          check_on_gpu(op.output_in_place(0), 0);
        }
      }
    }
  }
}

TEST_CASE("dropout on the device refuses what the CPU refuses") {
  for (const double probability : {-0.1, 1.0}) {
    OpRunner op("dropout", {{"probability", probability}, {"perSample", false}, {"stream", 0}});
    check_refused_as_on_cpu(op.input({2}, Floats(2)).input({}, Integers{1}).input({}, Integers{1}).output({2}));
  }
  OpRunner scalar("dropout", {{"probability", 0.5}, {"perSample", true}, {"stream", 0}});
  check_refused_as_on_cpu(scalar.input({}, Floats(1)).input({}, Integers{1}).input({}, Integers{1}).output({}));
}

}  // namespace
}  // namespace kw::test
