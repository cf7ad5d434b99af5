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

class Program final : private Steps {
 public:
  // Prepares every step.
  Program(Plan plan, std::shared_ptr<Backend> backend, std::shared_ptr<DeviceCounters> counters);
  ~Program() override;
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  // Throws invalid_argument for an unknown name (naming the known ones), a buffer that is too small or of another device.
  void bind(const std::string& name, std::shared_ptr<Buffer> buffer);
  // What is bound now; throws not_bound, naming what is missing.
  Bindings bindings() const;
  // On the stream's thread only. Once `closing` is set, the run may end early, with `disposed`.
  void run(const Bindings& bindings, const std::atomic<bool>& closing, bool timed);

  const Plan& plan() const override { return plan_; }
  size_t workspace_bytes() const { return workspace_->bytes(); }
  size_t scratch_bytes() const { return scratch_->bytes(); }
  size_t prepared_bytes() const { return resources_.prepared_bytes; }
  // Of a step in the last timed run that finished; 0 before.
  int64_t step_nanoseconds(size_t index) const;

 private:
  void prepare();

  // Steps
  ProgramResources& resources() override { return resources_; }
  const Memory& memory() const override { return memory_; }
  void run(size_t step) override;
  const std::vector<size_t>& written(size_t step) const override { return written_[step]; }
  void mark_written(size_t step) override;
  std::string describe(size_t step) const override;

  const std::shared_ptr<Backend> backend_;
  const Plan plan_;
  const std::shared_ptr<DeviceCounters> counters_;
  ProgramResources resources_;  // outlives the kernels
  std::optional<Allocation> workspace_;
  std::optional<Allocation> scratch_;
  std::vector<std::unique_ptr<Kernel>> kernels_;
  std::unique_ptr<Executor> executor_;        // released before the kernels that it runs
  std::vector<std::vector<size_t>> written_;  // for each step, the buffers that it writes
  Memory memory_;
  const Bindings* running_ = nullptr;  // the bindings of the current run

  mutable std::mutex mutex_;  // guards the two below
  Bindings bindings_;
  std::vector<int64_t> nanoseconds_;
};

}  // namespace kw
