// Plans that come from other programs and mean no good: every op of the list, with numbers at the ends of their types, attributes of other
// types, tensors of other ranks, and memory that is shared where it must not be. Each must be refused, or be computed, without a crash.
#include <cstring>
#include <limits>
#include <random>

#include "op_runner.h"
#include "ops/op_list.h"
#include "runtime/program.h"

namespace kw {
namespace {

using nlohmann::json;
using test::Shape;
using test::size_of;

constexpr int64_t kMost = std::numeric_limits<int64_t>::max();

struct Shaped {
  Shape shape;
  const char* type = "float32";
};

// A plan of one step, every tensor in a buffer of its own; the tensors of `outputs` are those that no input names.
json one_step(const std::string& op, json attributes, const std::vector<Shaped>& inputs, const std::vector<Shaped>& outputs) {
  json plan = {{"version", 1}, {"name", op}, {"buffers", {{{"name", "workspace"}, {"bytes", 0}}}}, {"tensors", json::array()}};
  json step = {{"op", op},
               {"label", "l"},
               {"attributes", std::move(attributes)},
               {"inputs", json::array()},
               {"outputs", json::array()},
               {"mutates", json::array()}};
  const auto add = [&](const Shaped& tensor, const char* side) {
    const auto index = plan["tensors"].size();
    const int64_t bytes = size_of(tensor.shape) * (std::strcmp(tensor.type, "bfloat16") == 0 ? 2 : 4);
    plan["buffers"].push_back({{"name", "b" + std::to_string(index)}, {"bytes", bytes}});
    plan["tensors"].push_back({{"type", tensor.type}, {"shape", tensor.shape}, {"buffer", index + 1}, {"offset", 0}});
    step[side].push_back(index);
  };
  for (const Shaped& tensor : inputs) add(tensor, "inputs");
  for (const Shaped& tensor : outputs) add(tensor, "outputs");
  plan["steps"] = json::array({step});
  return plan;
}

// What preparing and, where that works and little memory is asked for, running the plan says; empty where nothing is wrong.
std::string verdict(const json& plan, uint8_t fill = 0) {
  try {
    Device device("cpu", cpu::open_backend(1));
    const auto program = device.create_program(plan.dump());
    for (size_t index = 1; index < plan["buffers"].size(); ++index) {
      const auto bytes = plan["buffers"][index]["bytes"].get<size_t>();
      if (bytes > (size_t{1} << 24)) return "";
      const auto buffer = device.create_buffer(bytes);
      std::memset(buffer->data(), fill, bytes);
      program->bind(plan["buffers"][index]["name"], buffer);
    }
    device.run(program, false, {});
    device.synchronize();
    return "";
  } catch (const Error& error) {
    CHECK(error.code() != ErrorCode::internal);
    return error.what();
  }
}

bool says(const std::string& message, const std::string& part) { return message.find(part) != std::string::npos; }

TEST_CASE("hostile plans: slices") {
  const auto slice = [](int64_t start, int64_t end, int64_t width) {
    return verdict(one_step("slice", {{"start", start}, {"end", end}}, {{{2, 5}}}, {{{2, width}}}));
  };
  CHECK(slice(1, 3, 2) == "");
  for (const auto& [start, end] : std::vector<std::pair<int64_t, int64_t>>{
           {-1, 1}, {3, 1}, {0, 6}, {kMost, kMost}, {kMost - 1, kMost}, {-kMost, kMost}, {INT64_MIN, 2}, {2, INT64_MIN}}) {
    CHECK(says(slice(start, end, 2), "expected 0 <= start <= end <= 5"));
  }
  const auto backward = [](int64_t start, int64_t size) {
    return verdict(one_step("slice_backward", {{"start", start}, {"size", size}}, {{{1, 1, 3, 2}}}, {{{1, 1, 3, 5}}}));
  };
  CHECK(backward(3, 5) == "");
  for (const auto& [start, size] :
       std::vector<std::pair<int64_t, int64_t>>{{kMost, 5}, {-1, 5}, {4, 5}, {INT64_MIN, 5}, {0, kMost}, {kMost, kMost}, {0, -5}, {1, 1}}) {
    CHECK(backward(start, size) != "");
  }
}

TEST_CASE("hostile plans: cells") {
  const auto backward = [](const Shape& cells, int64_t in, int64_t out) {
    return verdict(one_step("mix_cells_backward_cells",
                            {{"cellShape", cells}, {"inChannels", in}, {"kernel", {1, 2}}, {"outChannels", out}},
                            {{{3, 1, 1, 2, 2}}, {{3, 4, 1}}}, {{{1, 1, 1, 1, 1}}}));
  };
  CHECK(backward({1, 1, 1, 1, 1}, 2, 1) == "");
  CHECK(says(backward({-1, 1, -1, 1, 1}, 2, 1), "expected cells [n,fe,keh,kew,ce]"));
  CHECK(backward({1, -1, 1, -1, 1}, 2, 1) != "");
  CHECK(backward({kMost, 1, 1, 1, 1}, 2, 1) != "");
  CHECK(backward({1, 1, 1, 1, 1}, kMost, 1) != "");
  CHECK(backward({1, 1, 1, 1, 1}, kMost, kMost) != "");
  CHECK(backward({1, 1, 1, 1, 1}, -2, -1) != "");
  CHECK(backward({1, 1, 1}, 2, 1) != "");
}

json convolution(int64_t stride, int64_t padding, int64_t dilation, int64_t groups = 1) {
  return {{"stride", {stride, stride}}, {"padding", {padding, padding}}, {"dilation", {dilation, dilation}}, {"groups", groups}};
}

TEST_CASE("hostile plans: the geometry of convolutions") {
  const auto conv = [](const json& attributes, const Shaped& x, const Shaped& weight, const Shaped& y) {
    return verdict(one_step("conv2d", attributes, {x, weight}, {y}));
  };
  const Shaped x{{1, 3, 3, 2}}, weight{{4, 2, 2, 2}}, y{{1, 2, 2, 4}};
  CHECK(conv(convolution(1, 0, 1), x, weight, y) == "");
  for (const int64_t bad : {int64_t{0}, int64_t{-1}, INT64_MIN, kMost, kMost / 2, int64_t{1} << 32, int64_t{1} << 31}) {
    CHECK(conv(convolution(bad, 0, 1), x, weight, y) != "");
    if (bad != 0) CHECK(conv(convolution(1, bad, 1), x, weight, y) != "");
    CHECK(conv(convolution(1, 0, bad), x, weight, y) != "");
    CHECK(conv(convolution(1, 0, 1, bad), x, weight, y) != "");
  }
  // A kernel of 2^62 by way of dilation, whose reach would wrap to something small.
  CHECK(conv(convolution(1, 0, (int64_t{1} << 62) + 1), x, weight, y) != "");
  for (const Shaped& wrong : std::vector<Shaped>{{{}}, {{2}}, {{1, 2, 2}}, {{1, 1, 2, 2, 4}}, {{1, 2, 2, 4}, "int32"}}) {
    CHECK(conv(convolution(1, 0, 1), wrong, weight, y) != "");
    CHECK(conv(convolution(1, 0, 1), x, wrong, y) != "");
    if (wrong.shape != y.shape) CHECK(conv(convolution(1, 0, 1), x, weight, wrong) != "");
  }
  const json volume = {{"stride", {1, 2, 1}}, {"padding", {1, 1, 0}}, {"dilation", {1, 1, 1}}, {"groups", 1}};
  CHECK(verdict(one_step("conv3d", volume, {{{2, 1, 1, 2, int64_t{1} << 32}}, {{1, 2, 2, 1, int64_t{1} << 32}}}, {{{2, 2, 1, 2, 1}}})) !=
        "");
  CHECK(verdict(one_step("conv3d", volume, {{{2, 1, 1, 2, int64_t{1} << 32}}, {{1, 2, 2, 1, 1}}}, {{{2, 2, 1, 2, 1}}})) != "");
}

TEST_CASE("hostile plans: strides that only one position sees, and taps that see padding only") {
  for (const char* type : {"float32", "bfloat16"}) {
    for (const int64_t stride : {127, 128, 200, 100'000, std::numeric_limits<int32_t>::max()}) {
      CAPTURE(stride);
      const json long_stride = {{"stride", {1, stride}}, {"padding", {0, 0}}, {"dilation", {1, 1}}, {"groups", 1}};
      CHECK(verdict(one_step("conv2d", long_stride, {{{2, 1, 2, 16}, type}, {{1, 1, 2, 16}}}, {{{2, 1, 1, 1}, type}})) == "");
      verdict(one_step("conv2d_backward_weight",
                       {{"kernel", {1, 2}}, {"stride", {1, stride}}, {"padding", {0, 0}}, {"dilation", {1, 1}}, {"groups", 1}},
                       {{{2, 1, 2, 16}, type}, {{2, 1, 1, 16}, type}}, {{{16, 1, 2, 16}}}));
      verdict(one_step("conv2d", long_stride, {{{1, 1, stride < 1000 ? stride + 1 : 1, 16}, type}, {{16, 1, 1, 16}}},
                       {{{1, 1, stride < 1000 ? 2 : 1, 16}, type}}));
    }
    for (const char* activation : {"none", "relu", "relu6"}) {
      for (const bool residual : {false, true}) {
        json attributes = convolution(1, 1, 2);
        attributes["epsilon"] = 1e-5;
        attributes["activation"] = activation;
        std::vector<Shaped> inputs = {{{2, 1, 1, 16}, type}, {{16, 2, 2, 16}}, {{16}}, {{16}}, {{16}}, {{16}}, {{16}}};
        if (residual) inputs.push_back({{2, 1, 1, 16}, type});
        CHECK(verdict(one_step("normalized_conv2d", attributes, inputs, {{{2, 1, 1, 16}, type}})) == "");
      }
    }
  }
}

TEST_CASE("hostile plans: windows of pooling") {
  const auto pool = [](int64_t kernel, int64_t stride, int64_t padding) {
    return verdict(one_step("max_pool2d", {{"kernel", {kernel, kernel}}, {"stride", {stride, stride}}, {"padding", {padding, padding}}},
                            {{{1, 4, 4, 3}}}, {{{1, 2, 2, 3}}, {{1, 2, 2, 3}, "int32"}}));
  };
  CHECK(pool(2, 2, 0) == "");
  for (const int64_t bad : {int64_t{-1}, int64_t{0}, INT64_MIN, kMost, kMost / 2 + 1, int64_t{1} << 32}) {
    CHECK(pool(bad, 2, 0) != "");
    CHECK(pool(2, bad, 0) != "");
    if (bad != 0) CHECK(pool(2, 2, bad) != "");
  }
  CHECK(pool(kMost, 1, kMost / 2) != "");
  for (const Shape& size : {Shape{-2, -2}, Shape{0, 2}, Shape{kMost, kMost}, Shape{2}, Shape{int64_t{1} << 32, int64_t{1} << 32}}) {
    CHECK(verdict(one_step("adaptive_avg_pool2d", {{"size", size}}, {{{1, 4, 4, 3}}}, {{{1, 2, 2, 3}}})) != "");
    CHECK(verdict(one_step("max_pool2d_backward", {{"inputSize", size}}, {{{1, 2, 2, 4}}, {{1, 2, 2, 4}, "int32"}}, {{{1, 4, 4, 4}}})) !=
          "");
  }
}

TEST_CASE("hostile plans: data that is no index is refused when it runs") {
  const auto backward = [](uint8_t fill) {
    return verdict(one_step("max_pool2d_backward", {{"inputSize", {4, 4}}}, {{{1, 2, 2, 4}}, {{1, 2, 2, 4}, "int32"}}, {{{1, 4, 4, 4}}}),
                   fill);
  };
  CHECK(backward(0) == "");
  CHECK(says(backward(0x7f), "expected indices in 0..15 but received 2139062143"));
  CHECK(says(backward(0xff), "expected indices in 0..15 but received -1"));
  const auto loss = [](uint8_t fill) {
    return verdict(one_step("cross_entropy", {{"labelSmoothing", 0}}, {{{2, 3}}, {{2}, "int32"}}, {{{}}, {{2, 3}}}), fill);
  };
  CHECK(loss(0) == "");
  CHECK(says(loss(0x7f), "expected targets in 0..2"));
}

TEST_CASE("hostile plans: memory that is shared where it must not be") {
  // The output lies over the classes that were just checked.
  json plan = one_step("cross_entropy_backward", {{"labelSmoothing", 0}}, {{{}}, {{64, 300}}, {{64}, "int32"}}, {{{64, 300}}});
  CHECK(verdict(plan) == "");
  plan["tensors"][2]["buffer"] = 4;
  CHECK(verdict(plan) == "[cross_entropy_backward] l: expected output 0 not to share memory with input 2");

  plan = one_step("add", json::object(), {{{8}}, {{8}}}, {{{8}}});
  plan["tensors"][2]["buffer"] = 1;  // exactly an input's place: computed in place
  CHECK(verdict(plan) == "");
  plan["buffers"][1]["bytes"] = 36;
  plan["tensors"][2]["offset"] = 4;  // one element further
  CHECK(says(verdict(plan), "expected output 0 not to share memory with input 0"));

  plan = one_step("slice", {{"start", 0}, {"end", 2}}, {{{4, 4}}}, {{{4, 2}}});
  plan["tensors"][1]["buffer"] = 1;
  CHECK(says(verdict(plan), "not to share memory"));

  plan = one_step("batch_norm", {{"epsilon", 1e-5}, {"activation", "none"}}, {{{4, 2}}, {{2}}, {{2}}}, {{{4, 2}}, {{2}}, {{2}}});
  CHECK(verdict(plan) == "");
  plan["tensors"][5]["buffer"] = 5;  // variance in the mean's place
  CHECK(says(verdict(plan), "expected output 2 not to share memory with output 1"));

  plan = one_step("copy", json::object(), {{{8}}, {{8}}}, {});
  plan["steps"][0]["mutates"] = {0};
  plan["buffers"][1]["bytes"] = 64;
  plan["tensors"][1]["buffer"] = 1;
  plan["tensors"][1]["offset"] = 16;
  CHECK(says(verdict(plan), "expected input 0 not to share memory with input 1"));
}

TEST_CASE("hostile plans: attributes of other types, for every op") {
  const std::vector<json> others = {nullptr, true, "text", -1, kMost, 1.5, json::array(), json::array({-1, kMost}), json::object()};
  const std::vector<const char*> names = {
      "activation", "assignment",     "axes",        "beta1",       "cellShape",   "count",   "decayed",    "dilation",
      "end",        "epsilon",        "factorShape", "function",    "groups",      "heads",   "inputShape", "inputSize",
      "kernel",     "labelSmoothing", "momentum",    "normEpsilon", "outChannels", "padding", "perSample",  "probability",
      "shape",      "size",           "start",       "stream",      "stride",      "type",    "value",      "zeroCell"};
  std::mt19937 random(7);
  const auto pick = [&](const auto& from) { return from[random() % from.size()]; };
  const std::vector<Shape> shapes = {{},        {1},          {3},           {2, 3},          {1, 1, 2},
                                     {2, 3, 4}, {1, 2, 2, 4}, {2, 1, 1, 16}, {3, 1, 1, 2, 2}, {1, 1, 1, 1, 1, 1}};
  const std::vector<const char*> types = {"float32", "float32", "bfloat16", "int32"};
  int64_t refused = 0, tried = 0;
  for (const std::string& op : op_names()) {
    for (int round = 0; round < 60; ++round) {
      json attributes = json::object();
      for (const char* name : names) attributes[name] = pick(others);
      std::vector<Shaped> inputs, outputs;
      for (uint32_t i = random() % 8; i-- > 0;) inputs.push_back({pick(shapes), pick(types)});
      for (uint32_t i = random() % 4; i-- > 0;) outputs.push_back({pick(shapes), pick(types)});
      refused += verdict(one_step(op, attributes, inputs, outputs)) != "";
      ++tried;
    }
  }
  CHECK(refused > tried * 9 / 10);
}

}  // namespace
}  // namespace kw
