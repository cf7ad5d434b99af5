// The executor: a plan with a prepared kernel for each step and its own workspace.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "runtime/allocation.h"
#include "runtime/backend.h"
#include "runtime/buffer.h"

namespace kw {

// The buffers of one run, by index in the plan; 0 (the workspace) stays empty.
using Bindings = std::vector<std::shared_ptr<Buffer>>;

class Program {
 public:
  // Prepares every step; kernels are made with OpenMP's thread count set to `threads`, as they will run.
  Program(Plan plan, const KernelRegistry& registry, int threads, std::shared_ptr<DeviceCounters> counters);
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  // Throws invalid_argument for an unknown name (naming the known ones), a buffer that is too small or of another device.
  void bind(const std::string& name, std::shared_ptr<Buffer> buffer);
  // What is bound now; throws not_bound, naming what is missing.
  Bindings bindings() const;
  // On the stream's thread only. `closing` is asked before each step; once set, the run ends with `disposed`.
  void run(const Bindings& bindings, const std::atomic<bool>& closing);

  const Plan& plan() const { return plan_; }
  size_t workspace_bytes() const { return workspace_->bytes(); }
  size_t scratch_bytes() const { return scratch_->bytes(); }
  size_t prepared_bytes() const { return resources_.prepared_bytes; }
  // Of a step in the last run that finished; 0 before.
  int64_t step_nanoseconds(size_t index) const;

 private:
  void prepare(const KernelRegistry& registry, int threads);
  void run_step(size_t index);
  std::string describe(const Step& step) const;

  const Plan plan_;
  const std::shared_ptr<DeviceCounters> counters_;
  ProgramResources resources_;  // outlives the kernels
  std::optional<Allocation> workspace_;
  std::optional<Allocation> scratch_;
  std::vector<std::unique_ptr<Kernel>> kernels_;
  std::vector<std::vector<size_t>> written_;  // for each step, the buffers that it writes
  Memory memory_;

  mutable std::mutex mutex_;  // guards the two below
  Bindings bindings_;
  std::vector<int64_t> nanoseconds_;
};

}  // namespace kw
