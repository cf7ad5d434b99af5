// The plan reader: what a valid plan becomes, and that hostile text ends in invalid_plan, naming the field.
#include "runtime/plan.h"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include <random>
#include <string>

#include "runtime/backend.h"

namespace kw {
namespace {

using nlohmann::json;

json valid_plan() {
  return json::parse(R"({
    "version": 1, "name": "test",
    "buffers": [{"name": "workspace", "bytes": 128}, {"name": "x", "bytes": 24}],
    "tensors": [{"type": "float32", "shape": [2, 3], "buffer": 1, "offset": 0},
                {"type": "int32", "shape": [], "buffer": 0, "offset": 64}],
    "steps": [{"op": "copy", "label": "first", "inputs": [0, -1, 1], "outputs": [1], "mutates": [0],
               "attributes": {"stride": [1, 2], "epsilon": 0.5, "groups": 3, "nesterov": true, "function": "softmax"}}]})");
}

// The message of the error, which must be invalid_plan; empty when there was none.
std::string refusal(const std::string& text) {
  try {
    parse_plan(text);
    return "";
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::invalid_plan);
    return error.what();
  }
}

std::string refusal_with(const char* pointer, const json& value) {
  json plan = valid_plan();
  plan[json::json_pointer(pointer)] = value;
  return refusal(plan.dump());
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST_CASE("plan: a valid one") {
  const Plan plan = parse_plan(valid_plan().dump());
  CHECK(plan.name == "test");
  CHECK(plan.buffers[1].name == "x");
  CHECK(plan.tensors[0].elements() == 6);
  CHECK(plan.tensors[0].bytes() == 24);
  CHECK(plan.tensors[1].type == DataType::int32);
  CHECK(plan.tensors[1].elements() == 1);
  CHECK(plan.steps[0].inputs == std::vector<int>{0, -1, 1});
  CHECK(plan.steps[0].mutates == std::vector<int>{0});
}

TEST_CASE("plan: every field of another type or out of range is refused by name") {
  const struct {
    const char* pointer;
    json value;
    const char* field;
  } cases[] = {
      {"/version", 2, "plan.version"},
      {"/version", "1", "plan.version"},
      {"/name", 1, "plan.name"},
      {"/buffers", json::object(), "plan.buffers"},
      {"/buffers", json::array(), "buffers is empty"},
      {"/buffers/0/bytes", -1, "buffers[0].bytes"},
      {"/buffers/0/bytes", 1.5, "buffers[0].bytes"},
      {"/buffers/0/bytes", 1e300, "buffers[0].bytes"},
      {"/buffers/0/bytes", UINT64_MAX, "buffers[0].bytes"},
      {"/buffers/0/bytes", INT64_MAX, "buffers[0].bytes"},
      {"/buffers/1/name", "workspace", "buffers[1].name"},
      {"/buffers/1/name", "", "buffers[1].name"},
      {"/buffers/1", nullptr, "buffers[1]"},
      {"/tensors/0", 7, "tensors[0]"},
      {"/tensors/0/type", "float64", "tensors[0].type"},
      {"/tensors/0/shape", json::array({2, -3}), "tensors[0].shape[1]"},
      {"/tensors/0/shape", json::array({0}), "tensors[0].shape[0]"},
      {"/tensors/0/shape", json::array({2, 4}), "ends at byte 32"},
      {"/tensors/0/shape", json::array({1 << 30, 1 << 30, 1 << 30, 1 << 30}), "too many elements"},
      {"/tensors/0/shape", json::array({INT64_MAX}), "tensors[0].shape[0]"},
      {"/tensors/0/shape", json::array({1, 1, 1, 1, 1, 1, 1, 1, 1}), "more than 8 axes"},
      {"/tensors/0/shape", json::array({json::array()}), "tensors[0].shape[0]"},
      {"/tensors/0/buffer", 2, "tensors[0].buffer"},
      {"/tensors/0/buffer", -1, "tensors[0].buffer"},
      {"/tensors/0/offset", 4, "ends at byte 28"},
      {"/tensors/0/offset", 2, "not a multiple of 4"},
      {"/tensors/0/offset", -4, "tensors[0].offset"},
      {"/tensors/1/offset", 68, "not a multiple of 64"},
      {"/tensors/1/offset", 128, "ends at byte 132"},
      {"/steps/0", "copy", "steps[0]"},
      {"/steps/0/op", nullptr, "steps[0].op"},
      {"/steps/0/inputs/0", 2, "steps[0].inputs[0]"},
      {"/steps/0/inputs/0", -2, "steps[0].inputs[0]"},
      {"/steps/0/inputs/0", 4294967296, "steps[0].inputs[0]"},
      {"/steps/0/outputs/0", -1, "steps[0].outputs[0]"},
      {"/steps/0/mutates/0", 3, "steps[0].mutates[0]"},
      {"/steps/0/mutates/0", 1, "which is absent"},
      {"/steps/0/attributes", json::array(), "steps[0].attributes"},
  };
  for (const auto& [pointer, value, field] : cases) {
    const std::string message = refusal_with(pointer, value);
    CHECK_MESSAGE(contains(message, field), pointer, " = ", value.dump(), ": ", message);
  }
}

TEST_CASE("plan: missing fields are refused by name") {
  for (const char* pointer : {"/version", "/name", "/buffers", "/tensors", "/steps", "/buffers/0/name", "/buffers/0/bytes",
                              "/tensors/0/type", "/tensors/0/shape", "/tensors/0/buffer", "/tensors/0/offset", "/steps/0/op",
                              "/steps/0/label", "/steps/0/inputs", "/steps/0/outputs", "/steps/0/mutates", "/steps/0/attributes"}) {
    json plan = valid_plan();
    const json::json_pointer field(pointer);
    plan[field.parent_pointer()].erase(field.back());
    CHECK(contains(refusal(plan.dump()), "no '" + field.back() + "'"));
  }
}

TEST_CASE("plan: text that is no plan") {
  for (const char* text :
       {"", " ", "{", "null", "[]", "1", "\"plan\"", "{\"version\": 1", "{\"version\":1}x", "\xff\xfe", "{\"version\": NaN}"}) {
    CHECK_MESSAGE(!refusal(text).empty(), text);
  }
  CHECK(contains(refusal(std::string(1'000'000, '[')), "nests deeper"));
  std::string deep = "{\"version\":";
  for (int level = 0; level < 100'000; ++level) deep += "{\"a\":";
  CHECK(contains(refusal(deep), "nests deeper"));
  CHECK(contains(refusal(std::string((size_t{64} << 20) + 1, ' ')), "bytes, more than"));
}

TEST_CASE("plan: damaged text never does anything but throw invalid_plan") {
  std::mt19937 random(1);
  const std::string valid = valid_plan().dump();
  int refused = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string text = valid;
    for (int change = 0; change <= round % 3; ++change) {
      const size_t position = random() % text.size();
      switch (random() % 3) {
        case 0:
          text[position] = static_cast<char>(random());
          break;
        case 1:
          text.erase(position, 1 + random() % 4);
          break;
        default:
          text.insert(position, 1, "0123456789-[]{}\",:"[random() % 18]);
      }
      if (text.empty()) break;
    }
    refused += refusal(text).empty() ? 0 : 1;
  }
  CHECK(refused > 10'000);
}

TEST_CASE("step context: inputs and attributes") {
  const Plan plan = parse_plan(valid_plan().dump());
  ProgramResources resources;
  const StepContext context(plan, plan.steps[0], 2, resources);
  CHECK(context.has_input(0));
  CHECK_FALSE(context.has_input(1));
  CHECK_FALSE(context.has_input(3));
  CHECK(&context.input(2) == &plan.tensors[1]);
  CHECK_THROWS_WITH_AS(context.input(1), "[copy] first: input 1 is missing", Error);
  CHECK_THROWS_WITH_AS(context.output(1), "[copy] first: output 1 is missing", Error);
  CHECK(context.integers("stride") == std::vector<int64_t>{1, 2});
  CHECK(context.number("epsilon") == 0.5);
  CHECK(context.number("groups") == 3);
  CHECK(context.integer("groups") == 3);
  CHECK(context.boolean("nesterov"));
  CHECK_THROWS_WITH_AS(context.integer("padding"), "[copy] first: attribute 'padding' is missing", Error);
  CHECK_THROWS_WITH_AS(context.integer("epsilon"), "[copy] first: attribute 'epsilon' must be an integer, not number", Error);
  CHECK_THROWS_AS(context.boolean("groups"), Error);
  CHECK_THROWS_AS(context.integers("groups"), Error);
  CHECK(context.text("function") == "softmax");
  CHECK_THROWS_WITH_AS(context.text("groups"), "[copy] first: attribute 'groups' must be a text, not number", Error);
  context.reserve_scratch(100);
  context.reserve_scratch(50);
  CHECK(resources.scratch_bytes == 100);
  const auto first = context.shared<int>("key", [] { return new int(7); });
  CHECK(context.shared<int>("key", [] { return new int(8); }) == first);
}

TEST_CASE("registry: duplicates and unknown ops") {
  KernelRegistry registry;
  const auto nothing = [](const StepContext&) { return std::unique_ptr<Kernel>(); };
  registry.add("relu", nothing);
  CHECK_THROWS_AS(registry.add("relu", nothing), Error);
  CHECK(registry.names() == std::vector<std::string>{"relu"});
  const Plan plan = parse_plan(valid_plan().dump());
  ProgramResources resources;
  CHECK_THROWS_WITH_AS(registry.prepare(StepContext(plan, plan.steps[0], 1, resources)), "[copy] first: this backend has no such op",
                       Error);
}

}  // namespace
}  // namespace kw
