#include "runtime/program.h"

#include <algorithm>
#include <set>
#include <utility>

#include "runtime/device_counters.h"

namespace kw {

namespace {

std::string join(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "'" : ", '") + word + "'";
  return text.empty() ? "none" : text;
}

std::string describe_shapes(const Plan& plan, const std::vector<int>& indices) {
  std::string text;
  for (const int index : indices) {
    if (!text.empty()) text += " ";
    if (index < 0) {
      text += "absent";
      continue;
    }
    text += "[";
    const auto& shape = plan.tensors[static_cast<size_t>(index)].shape;
    for (size_t axis = 0; axis < shape.size(); ++axis) {
      if (axis > 0) text += ",";
      text += std::to_string(shape[axis]);
    }
    text += "]";
  }
  return text.empty() ? "none" : text;
}

std::string mebibytes(int64_t bytes) { return std::to_string((bytes + (1 << 19)) >> 20) + " MiB"; }

// What the plan says a program needs, before kernels add their own scratch.
std::string describe_memory(const Plan& plan) {
  int64_t bound = 0;
  for (size_t index = 1; index < plan.buffers.size(); ++index) bound += plan.buffers[index].bytes;
  return "The plan of program '" + plan.name + "' asks for a workspace of " + mebibytes(plan.buffers[0].bytes) + ", beside " +
         mebibytes(bound) + " in the buffers that are bound to it";
}

std::vector<size_t> written_buffers(const Plan& plan, const Step& step) {
  std::set<size_t> buffers;
  const auto add = [&](int tensor) { buffers.insert(static_cast<size_t>(plan.tensors[static_cast<size_t>(tensor)].buffer)); };
  for (const int output : step.outputs) add(output);
  for (const int position : step.mutates) add(step.inputs[static_cast<size_t>(position)]);
  return {buffers.begin(), buffers.end()};
}

}  // namespace

Program::Program(Plan plan, std::shared_ptr<Backend> backend, std::shared_ptr<DeviceCounters> counters)
    : backend_(std::move(backend)), plan_(std::move(plan)), counters_(std::move(counters)), bindings_(plan_.buffers.size()) {
  const std::shared_ptr<std::atomic<size_t>> bytes(counters_, &counters_->bytes);
  try {
    workspace_.emplace(static_cast<size_t>(plan_.buffers[0].bytes), backend_, bytes);
    prepare();
    scratch_.emplace(resources_.scratch_bytes, backend_, bytes);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::out_of_memory) throw;
    throw Error(error.code(), std::string(error.what()) + ". " + describe_memory(plan_));
  }
  memory_.bases_.assign(plan_.buffers.size(), nullptr);
  memory_.versions_.assign(plan_.buffers.size(), 0);
  memory_.bases_[0] = workspace_->data();
  memory_.versions_[0] = next_version();
  memory_.scratch_ = scratch_->data();
  ++counters_->programs;
}

Program::~Program() { --counters_->programs; }

void Program::prepare() {
  const std::shared_ptr<void> as_in_runs = backend_->prepare_thread();
  executor_ = backend_->make_executor();
  for (size_t index = 0; index < plan_.steps.size(); ++index) {
    const Step& step = plan_.steps[index];
    try {
      kernels_.push_back(backend_->registry().prepare(StepContext(plan_, step, backend_->threads(), resources_)));
    } catch (const Error&) {
      throw;
    } catch (const std::bad_alloc&) {
      throw Error(ErrorCode::out_of_memory, "Cannot prepare " + describe(index) + ": out of memory");
    } catch (const std::exception& error) {
      throw Error(ErrorCode::internal, "Cannot prepare " + describe(index) + ": " + error.what());
    }
    written_.push_back(written_buffers(plan_, step));
  }
}

std::string Program::describe(size_t index) const {
  const Step& step = plan_.steps[index];
  return "[" + step.op + "] " + step.label + " (inputs " + describe_shapes(plan_, step.inputs) + "; outputs " +
         describe_shapes(plan_, step.outputs) + ")";
}

void Program::bind(const std::string& name, std::shared_ptr<Buffer> buffer) {
  const auto found =
      std::find_if(plan_.buffers.begin() + 1, plan_.buffers.end(), [&](const BufferSpec& spec) { return spec.name == name; });
  if (found == plan_.buffers.end()) {
    std::vector<std::string> known;
    for (size_t index = 1; index < plan_.buffers.size(); ++index) known.push_back(plan_.buffers[index].name);
    throw Error(ErrorCode::invalid_argument, "Program '" + plan_.name + "' has no buffer '" + name + "' to bind; it has " + join(known));
  }
  if (!buffer->belongs_to(counters_)) {
    throw Error(ErrorCode::invalid_argument, "The buffer for '" + name + "' belongs to another device than program '" + plan_.name + "'");
  }
  if (buffer->bytes() < static_cast<size_t>(found->bytes)) {
    throw Error(ErrorCode::invalid_argument, "The buffer for '" + name + "' of program '" + plan_.name + "' needs " +
                                                 std::to_string(found->bytes) + " bytes, but has " + std::to_string(buffer->bytes()));
  }
  const std::lock_guard lock(mutex_);
  bindings_[static_cast<size_t>(found - plan_.buffers.begin())] = std::move(buffer);
}

Bindings Program::bindings() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> missing;
  for (size_t index = 1; index < bindings_.size(); ++index) {
    if (!bindings_[index]) missing.push_back(plan_.buffers[index].name);
  }
  if (!missing.empty()) throw Error(ErrorCode::not_bound, "Program '" + plan_.name + "' cannot run: not bound: " + join(missing));
  return bindings_;
}

void Program::run(const Bindings& bindings, const std::atomic<bool>& closing, bool timed) {
  for (size_t index = 1; index < bindings.size(); ++index) {
    memory_.bases_[index] = bindings[index]->data();
    memory_.versions_[index] = bindings[index]->version();
  }
  running_ = &bindings;
  executor_->run(*this, closing, timed);
  auto nanoseconds = executor_->nanoseconds();
  const std::lock_guard lock(mutex_);
  nanoseconds_ = std::move(nanoseconds);
}

void Program::run(size_t index) {
  try {
    kernels_[index]->run(memory_);
  } catch (const Error& error) {
    throw Error(error.code(), describe(index) + " failed: " + error.what());
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::out_of_memory, describe(index) + " failed: out of memory");
  } catch (const std::exception& error) {
    throw Error(ErrorCode::internal, describe(index) + " failed: " + error.what());
  }
}

void Program::mark_written(size_t step) {
  const Bindings& bindings = *running_;
  for (const size_t written : written_[step]) {
    if (written == 0) {
      memory_.versions_[0] = next_version();
      continue;
    }
    bindings[written]->changed();
    for (size_t index = 1; index < bindings.size(); ++index) {  // one buffer may be bound under several names
      if (bindings[index] == bindings[written]) memory_.versions_[index] = bindings[index]->version();
    }
  }
}

int64_t Program::step_nanoseconds(size_t index) const {
  const std::lock_guard lock(mutex_);
  return index < nanoseconds_.size() ? nanoseconds_[index] : 0;
}

}  // namespace kw
