// What a backend is: the memory and the kernels of one kind of device. It turns each plan step into a prepared kernel once; its executor
// then runs the kernels in order.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
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
  // Does its work, or queues it where the backend's work is queued.
  virtual void run(const Memory& memory) = 0;
};

// A kernel whose run(memory) is the given function; what it captures was prepared once.
template <class Run>
std::unique_ptr<Kernel> make_kernel(Run run) {
  class FunctionKernel final : public Kernel {
   public:
    explicit FunctionKernel(Run run) : run_(std::move(run)) {}
    void run(const Memory& memory) override { run_(memory); }

   private:
    Run run_;
  };
  return std::make_unique<FunctionKernel>(std::move(run));
}

// What all kernels of one program share: scratch size, converted copies of parameters. Kernels are prepared in the order of the steps.
struct ProgramResources {
  size_t scratch_bytes = 0;
  size_t prepared_bytes = 0;  // converted copies; counted in the program's memory
  std::map<std::string, std::shared_ptr<void>> shared;
};

// What a kernel is prepared with, once its step has been read. Refers to a plan that outlives the kernel: a kernel may keep `const
// Tensor&`.
class KernelContext {
 public:
  KernelContext(const Plan& plan, const Step& step, int threads, ProgramResources& resources)
      : plan(plan), step(step), threads(threads), resources(resources) {}

  const Plan& plan;
  const Step& step;
  const int threads;
  ProgramResources& resources;

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
  // For a step that is right but beyond what this backend can do. Throws unsupported: "[op] label: message".
  [[noreturn]] void unsupported(const std::string& message) const;
};

// A step as native/ops reads it.
class StepContext : public KernelContext {
 public:
  using KernelContext::KernelContext;

  bool has_input(size_t position) const { return position < step.inputs.size() && step.inputs[position] >= 0; }
  const Tensor& input(size_t position) const;           // throws invalid_plan when absent
  const Tensor* optional_input(size_t position) const;  // null when absent
  const Tensor& output(size_t position) const;          // throws invalid_plan when absent
  // Attributes; throw invalid_plan naming op, label and attribute when missing or of another type.
  int64_t integer(const char* name) const;
  double number(const char* name) const;
  bool boolean(const char* name) const;
  std::string text(const char* name) const;
  std::vector<int64_t> integers(const char* name) const;
  std::vector<std::vector<int64_t>> integer_lists(const char* name) const;

  [[noreturn]] void fail(const std::string& message) const;  // invalid_plan: "[op] label: message"
};

// What a kernel throws when a step's data are not what they must be (invalid_argument): "[op] label: message".
Error data_error(const Step& step, const std::string& message);

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

// A program as its executor sees it.
class Steps {
 public:
  virtual ~Steps() = default;
  virtual const Plan& plan() const = 0;
  virtual ProgramResources& resources() = 0;
  // Where the tensors of the current run are.
  virtual const Memory& memory() const = 0;
  // Runs a step's kernel; errors name the step.
  virtual void run(size_t step) = 0;
  // Buffers that a step writes, by index in the plan.
  virtual const std::vector<size_t>& written(size_t step) const = 0;
  // Gives the buffers that a step writes new versions.
  virtual void mark_written(size_t step) = 0;
  // "[op] label (inputs ...; outputs ...)".
  virtual std::string describe(size_t step) const = 0;
};

// Runs a program's steps in order, on the stream's thread.
class Executor {
 public:
  virtual ~Executor() = default;
  // `closing` is asked now and then; once set, the run may end early with `disposed`. `timed`: every step is to be timed by itself.
  virtual void run(Steps& steps, const std::atomic<bool>& closing, bool timed) = 0;
  // Of each step in the last run that was timed and finished; empty before.
  virtual std::vector<int64_t> nanoseconds() = 0;
};

// Work that was queued up to one moment.
class Fence {
 public:
  virtual ~Fence() = default;
  // Throws what went wrong in that work.
  virtual void wait() = 0;
};

// Of a device with memory of its own, in bytes, whoever uses it.
struct MemoryUse {
  size_t used = 0;
  size_t total = 0;
};

// One opened device of a kind. Its functions are called from the stream's thread, allocate and release from any.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual const KernelRegistry& registry() const = 0;
  // What `threads` in a StepContext is; 1 where kernels do not run on the host.
  virtual int threads() const = 0;
  // The device by name, such as "NVIDIA H100 80GB HBM3".
  virtual std::string description() const = 0;
  // The cudaStream_t that work is queued on; null where there is none.
  virtual void* stream() const { return nullptr; }
  virtual MemoryUse memory_use() const { return {}; }
  // Called first on each thread that the stream starts.
  virtual void enter_thread() {}
  // Held while a program's kernels are prepared, on the calling thread: whatever state of that thread this takes.
  virtual std::shared_ptr<void> prepare_thread() { return nullptr; }

  // Zero-filled, 64-byte aligned memory of the device; an empty block has an address too. Throws out_of_memory.
  virtual std::byte* allocate(size_t bytes) = 0;
  virtual void release(std::byte* data, size_t bytes) noexcept = 0;
  // Memory of the host that `write` copies fastest from; not zeroed.
  virtual std::shared_ptr<std::byte[]> staging(size_t bytes) { return std::shared_ptr<std::byte[]>(new std::byte[bytes]); }

  // Each does, or queues, a copy. `source` of write and `destination` of read live until the fence after them.
  virtual void write(std::byte* destination, const std::byte* source, size_t bytes) = 0;
  virtual void read(std::byte* destination, const std::byte* source, size_t bytes) = 0;
  virtual void fill_zero(std::byte* data, size_t bytes) = 0;

  // Once for each program, before its steps are prepared.
  virtual std::unique_ptr<Executor> make_executor() = 0;
  // What has been queued so far; null where work is done when its call returns.
  virtual std::unique_ptr<Fence> fence() { return nullptr; }
  virtual bool is_asynchronous() const { return false; }
};

}  // namespace kw
