#include "runtime/plan.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "runtime/error.h"

namespace kw {

namespace {

using nlohmann::json;

constexpr size_t kMaximumText = size_t{64} << 20;  // a ResNet-50 training plan has about 1 MiB
constexpr int kMaximumDepth = 32;                  // attributes nest lists of lists; nothing needs more
constexpr int64_t kMaximumBytes = int64_t{1} << 48;
constexpr size_t kMaximumRank = 8;
constexpr int64_t kLargestElement = 4;
constexpr int64_t kWorkspaceAlignment = 64;
constexpr DataType kDataTypes[] = {DataType::float32, DataType::int32, DataType::bfloat16};

[[noreturn]] void fail(const std::string& message) { throw Error(ErrorCode::invalid_plan, "Invalid plan: " + message); }

std::string at(const std::string& where, size_t index) { return where + "[" + std::to_string(index) + "]"; }

const json& member(const json& object, const char* name, const std::string& where) {
  const auto found = object.find(name);
  if (found == object.end()) fail(where + " has no '" + name + "'");
  return *found;
}

const json& object_at(const json& value, const std::string& where) {
  if (!value.is_object()) fail(where + " must be an object, not " + value.type_name());
  return value;
}

const json& array_of(const json& object, const char* name, const std::string& where) {
  const json& value = member(object, name, where);
  if (!value.is_array()) fail(where + "." + name + " must be an array, not " + value.type_name());
  return value;
}

std::string string_of(const json& object, const char* name, const std::string& where) {
  const json& value = member(object, name, where);
  if (!value.is_string()) fail(where + "." + name + " must be a string, not " + value.type_name());
  return value.get<std::string>();
}

int64_t integer_at(const json& value, int64_t minimum, int64_t maximum, const std::string& where) {
  const bool fits = value.is_number_unsigned() ? value.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())
                                               : value.is_number_integer();
  if (!fits || value.get<int64_t>() < minimum || value.get<int64_t>() > maximum) {
    const std::string given = value.is_structured() ? value.type_name() : value.dump(-1, ' ', false, json::error_handler_t::replace);
    fail(where + " must be an integer from " + std::to_string(minimum) + " to " + std::to_string(maximum) + ", not " + given);
  }
  return value.get<int64_t>();
}

int64_t integer_of(const json& object, const char* name, int64_t minimum, int64_t maximum, const std::string& where) {
  return integer_at(member(object, name, where), minimum, maximum, where + "." + name);
}

std::vector<int> indices_of(const json& object, const char* name, int minimum, size_t count, const std::string& where) {
  std::vector<int> indices;
  for (const json& value : array_of(object, name, where)) {
    indices.push_back(
        static_cast<int>(integer_at(value, minimum, static_cast<int64_t>(count) - 1, at(where + "." + name, indices.size()))));
  }
  return indices;
}

json parse_text(std::string_view text) {
  if (text.size() > kMaximumText) fail("the text has " + std::to_string(text.size()) + " bytes, more than " + std::to_string(kMaximumText));
  const auto limit_depth = [](int depth, json::parse_event_t, json&) {
    if (depth > kMaximumDepth) fail("it nests deeper than " + std::to_string(kMaximumDepth) + " levels");
    return true;
  };
  try {
    return json::parse(text.begin(), text.end(), limit_depth);
  } catch (const json::exception& error) {
    fail(std::string("not JSON: ") + error.what());
  }
}

std::vector<BufferSpec> read_buffers(const json& root) {
  std::vector<BufferSpec> buffers;
  std::set<std::string> names;
  for (const json& value : array_of(root, "buffers", "plan")) {
    const std::string where = at("buffers", buffers.size());
    object_at(value, where);
    BufferSpec buffer{string_of(value, "name", where), integer_of(value, "bytes", 0, kMaximumBytes, where)};
    if (buffer.name.empty()) fail(where + ".name is empty");
    if (!names.insert(buffer.name).second) fail(where + ".name '" + buffer.name + "' occurs twice");
    buffers.push_back(std::move(buffer));
  }
  if (buffers.empty()) fail("buffers is empty; buffer 0 must be the workspace");
  return buffers;
}

Tensor read_tensor(const json& value, const std::string& where, const std::vector<BufferSpec>& buffers) {
  object_at(value, where);
  Tensor tensor;
  const std::string type = string_of(value, "type", where);
  const auto known = std::find_if(std::begin(kDataTypes), std::end(kDataTypes), [&](DataType each) { return type == name_of(each); });
  if (known == std::end(kDataTypes)) fail(where + ".type must be 'float32', 'int32' or 'bfloat16', not '" + type + "'");
  tensor.type = *known;
  int64_t elements = 1;
  for (const json& size : array_of(value, "shape", where)) {
    if (tensor.shape.size() == kMaximumRank) fail(where + ".shape has more than " + std::to_string(kMaximumRank) + " axes");
    tensor.shape.push_back(integer_at(size, 1, kMaximumBytes, at(where + ".shape", tensor.shape.size())));
    if (tensor.shape.back() > kMaximumBytes / kLargestElement / elements) fail(where + ".shape has too many elements");
    elements *= tensor.shape.back();
  }
  tensor.buffer = static_cast<int>(integer_of(value, "buffer", 0, static_cast<int64_t>(buffers.size()) - 1, where));
  tensor.offset = integer_of(value, "offset", 0, kMaximumBytes, where);
  const int64_t alignment = tensor.buffer == 0 ? kWorkspaceAlignment : element_bytes(tensor.type);
  if (tensor.offset % alignment != 0) {
    fail(where + ".offset " + std::to_string(tensor.offset) + " is not a multiple of " + std::to_string(alignment));
  }
  const BufferSpec& buffer = buffers[static_cast<size_t>(tensor.buffer)];
  if (tensor.offset + tensor.bytes() > buffer.bytes) {
    fail(where + " ends at byte " + std::to_string(tensor.offset + tensor.bytes()) + " of buffer '" + buffer.name + "', which has " +
         std::to_string(buffer.bytes));
  }
  return tensor;
}

Step read_step(const json& value, const std::string& where, size_t tensors) {
  object_at(value, where);
  Step step;
  step.op = string_of(value, "op", where);
  step.label = string_of(value, "label", where);
  step.inputs = indices_of(value, "inputs", -1, tensors, where);
  step.outputs = indices_of(value, "outputs", 0, tensors, where);
  step.mutates = indices_of(value, "mutates", 0, step.inputs.size(), where);
  for (const int position : step.mutates) {
    if (step.inputs[static_cast<size_t>(position)] < 0)
      fail(where + ".mutates names input " + std::to_string(position) + ", which is absent");
  }
  step.attributes = std::make_shared<const json>(object_at(member(value, "attributes", where), where + ".attributes"));
  return step;
}

}  // namespace

int64_t element_bytes(DataType type) { return type == DataType::bfloat16 ? 2 : 4; }

const char* name_of(DataType type) {
  switch (type) {
    case DataType::float32:
      return "float32";
    case DataType::int32:
      return "int32";
    case DataType::bfloat16:
      return "bfloat16";
  }
  return "unknown";
}

int64_t Tensor::elements() const {
  int64_t elements = 1;
  for (const int64_t size : shape) elements *= size;
  return elements;
}

int64_t Tensor::bytes() const { return elements() * element_bytes(type); }

Plan parse_plan(std::string_view text) {
  const json root = parse_text(text);
  object_at(root, "plan");
  integer_of(root, "version", 1, 1, "plan");
  Plan plan;
  plan.name = string_of(root, "name", "plan");
  plan.buffers = read_buffers(root);
  for (const json& value : array_of(root, "tensors", "plan")) {
    plan.tensors.push_back(read_tensor(value, at("tensors", plan.tensors.size()), plan.buffers));
  }
  for (const json& value : array_of(root, "steps", "plan")) {
    plan.steps.push_back(read_step(value, at("steps", plan.steps.size()), plan.tensors.size()));
  }
  return plan;
}

}  // namespace kw
