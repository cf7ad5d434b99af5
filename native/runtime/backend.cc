#include "runtime/backend.h"

#include <nlohmann/json.hpp>
#include <utility>

namespace kw {

namespace {

Error step_error(ErrorCode code, const Step& step, const std::string& message) {
  return Error(code, "[" + step.op + "] " + step.label + ": " + message);
}

const Tensor& tensor_at(const StepContext& context, const std::vector<int>& indices, size_t position, const char* what) {
  if (position >= indices.size() || indices[position] < 0) {
    context.fail(std::string(what) + " " + std::to_string(position) + " is missing");
  }
  return context.plan.tensors[static_cast<size_t>(indices[position])];
}

const nlohmann::json& attribute(const StepContext& context, const char* name, const char* expected, bool (*accept)(const nlohmann::json&)) {
  const nlohmann::json& attributes = *context.step.attributes;
  const auto found = attributes.find(name);
  if (found == attributes.end()) context.fail(std::string("attribute '") + name + "' is missing");
  if (!accept(*found)) context.fail(std::string("attribute '") + name + "' must be " + expected + ", not " + found->type_name());
  return *found;
}

// Unsigned values beyond int64 would wrap silently.
bool is_integer(const nlohmann::json& value) {
  if (value.is_number_unsigned()) return value.get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX);
  return value.is_number_integer();
}

bool is_integer_list(const nlohmann::json& value) {
  if (!value.is_array()) return false;
  for (const auto& element : value) {
    if (!is_integer(element)) return false;
  }
  return true;
}

bool is_list_of_integer_lists(const nlohmann::json& value) {
  if (!value.is_array()) return false;
  for (const auto& element : value) {
    if (!is_integer_list(element)) return false;
  }
  return true;
}

}  // namespace

const Tensor& StepContext::input(size_t position) const { return tensor_at(*this, step.inputs, position, "input"); }

const Tensor* StepContext::optional_input(size_t position) const { return has_input(position) ? &input(position) : nullptr; }

const Tensor& StepContext::output(size_t position) const { return tensor_at(*this, step.outputs, position, "output"); }

int64_t StepContext::integer(const char* name) const { return attribute(*this, name, "an integer", is_integer).get<int64_t>(); }

double StepContext::number(const char* name) const {
  return attribute(*this, name, "a number", [](const nlohmann::json& value) { return value.is_number(); }).get<double>();
}

bool StepContext::boolean(const char* name) const {
  return attribute(*this, name, "a boolean", [](const nlohmann::json& value) { return value.is_boolean(); }).get<bool>();
}

std::string StepContext::text(const char* name) const {
  return attribute(*this, name, "a text", [](const nlohmann::json& value) { return value.is_string(); }).get<std::string>();
}

std::vector<int64_t> StepContext::integers(const char* name) const {
  return attribute(*this, name, "a list of integers", is_integer_list).get<std::vector<int64_t>>();
}

std::vector<std::vector<int64_t>> StepContext::integer_lists(const char* name) const {
  return attribute(*this, name, "a list of lists of integers", is_list_of_integer_lists).get<std::vector<std::vector<int64_t>>>();
}

void StepContext::fail(const std::string& message) const { throw step_error(ErrorCode::invalid_plan, step, message); }

void KernelContext::unsupported(const std::string& message) const { throw step_error(ErrorCode::unsupported, step, message); }

Error data_error(const Step& step, const std::string& message) { return step_error(ErrorCode::invalid_argument, step, message); }

void KernelRegistry::add(const std::string& op, KernelFactory factory) {
  if (!factories_.emplace(op, std::move(factory)).second) {
    throw Error(ErrorCode::internal, "op '" + op + "' is registered twice");
  }
}

std::unique_ptr<Kernel> KernelRegistry::prepare(const StepContext& context) const {
  const auto found = factories_.find(context.step.op);
  if (found == factories_.end()) {
    context.unsupported("this backend has no such op");
  }
  return found->second(context);
}

std::vector<std::string> KernelRegistry::names() const {
  std::vector<std::string> names;
  for (const auto& [name, factory] : factories_) names.push_back(name);
  return names;
}

}  // namespace kw
