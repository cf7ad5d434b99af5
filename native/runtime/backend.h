// What a backend is: it turns each plan step into a prepared kernel once; the executor then runs the kernels in order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "runtime/error.h"
#include "runtime/plan.h"

namespace kw {

// Where a program's tensors are during one run. Base addresses may change between runs (rebinding), never within one.
class Memory {
 public:
  template <class T>
  T* data(const Tensor& tensor) const {
    return reinterpret_cast<T*>(bases_[static_cast<size_t>(tensor.buffer)] + tensor.offset);
  }
  // Grows with every write into the tensor's buffer by the host or by a mutating step; a kernel that keeps a converted copy of a
  // parameter compares it to know when to convert again. 0 is never a valid version.
  uint64_t version(const Tensor& tensor) const { return versions_[static_cast<size_t>(tensor.buffer)]; }
  // The base address counts too: rebinding gives other memory with a version of its own.
  const void* base(const Tensor& tensor) const { return bases_[static_cast<size_t>(tensor.buffer)]; }
  // One scratch area for all kernels of a program, as large as the largest request; contents last for one kernel only. 64-byte aligned.
  std::byte* scratch() const { return scratch_; }

  std::vector<std::byte*> bases_;
  std::vector<uint64_t> versions_;
  std::byte* scratch_ = nullptr;
};

class Kernel {
 public:
  virtual ~Kernel() = default;
  virtual void run(const Memory& memory) = 0;
};

// What all kernels of one program share: scratch size, converted copies of parameters.
struct ProgramResources {
  size_t scratch_bytes = 0;
  size_t prepared_bytes = 0;  // converted copies; counted in the program's memory
  std::map<std::string, std::shared_ptr<void>> shared;
};

// A step as its kernel factory sees it. Refers to a plan that outlives the kernel: a kernel may keep `const Tensor&`.
class StepContext {
 public:
  StepContext(const Plan& plan, const Step& step, int threads, ProgramResources& resources)
      : plan(plan), step(step), threads(threads), resources(resources) {}

  const Plan& plan;
  const Step& step;
  const int threads;
  ProgramResources& resources;

  bool has_input(size_t position) const { return position < step.inputs.size() && step.inputs[position] >= 0; }
  const Tensor& input(size_t position) const;   // throws invalid_plan when absent
  const Tensor& output(size_t position) const;  // throws invalid_plan when absent
  // Attributes; throw invalid_plan naming op, label and attribute when missing or of another type.
  int64_t integer(const char* name) const;
  double number(const char* name) const;
  bool boolean(const char* name) const;
  std::string text(const char* name) const;
  std::vector<int64_t> integers(const char* name) const;
  std::vector<std::vector<int64_t>> integer_lists(const char* name) const;

  void reserve_scratch(size_t bytes) const {
    if (bytes > resources.scratch_bytes) resources.scratch_bytes = bytes;
  }
  // One object per key and program, made on first use; for converted copies that several steps read.
  template <class T, class Make>
  std::shared_ptr<T> shared(const std::string& key, Make make) const {
    auto& slot = resources.shared[key];
    if (!slot) slot = std::shared_ptr<T>(make());
    return std::static_pointer_cast<T>(slot);
  }
  [[noreturn]] void fail(const std::string& message) const;  // invalid_plan: "[op] label: message"
};

using KernelFactory = std::function<std::unique_ptr<Kernel>(const StepContext&)>;

// Op name -> factory; refuses duplicates.
class KernelRegistry {
 public:
  void add(const std::string& op, KernelFactory factory);
  std::unique_ptr<Kernel> prepare(const StepContext& context) const;  // unknown op: unsupported
  std::vector<std::string> names() const;

 private:
  std::map<std::string, KernelFactory> factories_;
};

}  // namespace kw
