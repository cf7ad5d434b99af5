// Which kernels a mixed convolution gets, against a table that `bench --model` is held to as well (test/bench/mixed_kernel_choices.ts).
#include "cuda/mixing/mixed_kernel_choice.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

namespace kw::cuda::test {
namespace {

using Json = nlohmann::json;

const struct {
  std::string name;
  ConvolutionPass pass;
} kPasses[] = {
    {"forward", ConvolutionPass::forward}, {"input", ConvolutionPass::backward_input}, {"mixing", ConvolutionPass::backward_weight}};

const struct {
  std::string name;
  DataType type;
} kTypes[] = {{"bfloat16", DataType::bfloat16}, {"float32", DataType::float32}};

Device device_of(const Json& figures) {
  Device device;
  device.multiprocessors = figures.at("multiprocessors").get<int>();
  device.shared_memory = figures.at("sharedKibibytesPerBlock").get<size_t>() * 1024;
  device.l2_bytes = figures.at("l2Mebibytes").get<size_t>() << 20;
  return device;
}

// What the shape does not say has no part in the choice.
ConvolutionGeometry geometry_of(const Json& shape, int64_t batch) {
  const auto plane = [&](const char* name) { return shape.at(name).get<std::vector<int64_t>>(); };
  return {.batch = batch,
          .in_channels = shape.at("inChannels").get<int64_t>(),
          .out_channels = shape.at("outChannels").get<int64_t>(),
          .groups = shape.at("groups").get<int64_t>(),
          .size = plane("size"),
          .out_size = plane("outSize"),
          .kernel = plane("kernel"),
          .stride = plane("stride"),
          .padding = {0, 0},
          .dilation = plane("dilation")};
}

CellGrid grid_of(const Json& shape, const ConvolutionGeometry& geometry) {
  const auto cells = shape.at("cells").get<std::vector<int64_t>>();
  const auto weight = geometry.weight_shape();
  return {cells.at(0), cells.at(1), cells.at(2), cells.at(3), cells.at(4), weight.at(0), weight.at(1), weight.at(2), weight.at(3)};
}

std::string describe(const MixedKernelChoice& choice) {
  if (choice.fused_channels > 0) return "fused " + std::to_string(choice.fused_channels);
  return (choice.in_cache ? "by samples " : "in memory ") + std::to_string(choice.samples);
}

TEST_CASE("the kernels of mixed convolutions are those of the table") {
  const auto path = std::filesystem::path(__FILE__).replace_filename("mixed_kernel_choices.json");
  std::ifstream file(path);
  REQUIRE_MESSAGE(file.is_open(), path.string());
  const Json table = Json::parse(file);
  int checked = 0;
  for (const Json& layer : table.at("layers")) {
    const Json& shape = layer.at("shape");
    CAPTURE(shape.dump());
    for (const auto& [name, figures] : table.at("gpus").items()) {
      CAPTURE(name);
      const Device gpu = device_of(figures);
      for (const auto& [type_name, type] : kTypes) {
        CAPTURE(type_name);
        for (const auto& [pass_name, pass] : kPasses) {
          CAPTURE(pass_name);
          const Json& expected = layer.at(name).at(type_name).at(pass_name);
          REQUIRE(expected.size() == table.at("batches").size());
          for (size_t i = 0; i < expected.size(); ++i, ++checked) {
            const ConvolutionGeometry geometry = geometry_of(shape, table.at("batches").at(i).get<int64_t>());
            CHECK(describe(choose_mixed_kernel(gpu, geometry, grid_of(shape, geometry), type, pass)) == expected.at(i).get<std::string>());
          }
        }
      }
    }
  }
  CHECK(checked > 1000);
}

}  // namespace
}  // namespace kw::cuda::test
