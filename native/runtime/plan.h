// The plan: what TypeScript hands over, read once. docs/plan.md describes the format, docs/ops.md every op.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace kw {

enum class DataType { float32, int32, bfloat16 };

int64_t element_bytes(DataType type);
const char* name_of(DataType type);

struct Tensor {
  DataType type = DataType::float32;
  std::vector<int64_t> shape;  // physical, row-major
  int buffer = 0;
  int64_t offset = 0;  // bytes from the buffer's start

  int64_t elements() const;
  int64_t bytes() const;
};

struct Step {
  std::string op;
  std::string label;                                 // the layer it belongs to, for messages and profiles
  std::vector<int> inputs;                           // tensor indices; -1 is an absent optional input
  std::vector<int> outputs;                          // tensor indices
  std::vector<int> mutates;                          // positions in `inputs` that the step writes
  std::shared_ptr<const nlohmann::json> attributes;  // an object; only backend.cc looks inside, so that kernels compile without the library
};

struct BufferSpec {
  std::string name;
  int64_t bytes = 0;
};

struct Plan {
  std::string name;
  std::vector<BufferSpec> buffers;  // 0 is the workspace
  std::vector<Tensor> tensors;
  std::vector<Step> steps;
};

// Throws kw::Error (invalid_plan) that names the offending field when the text is not a valid plan: unknown version, a tensor
// outside its buffer, an index out of range, a negative size.
Plan parse_plan(std::string_view json);

}  // namespace kw
