// Runs a program on a GPU: the first time step by step, waiting for each so that a fault names its step; from then on as one recorded
// graph for each set of bound buffers.
#pragma once

#include <cuda_runtime.h>

#include <deque>
#include <vector>

#include "cuda/device.h"
#include "cuda/transfers.h"
#include "runtime/backend.h"

namespace kw::cuda {

class GraphExecutor final : public Executor {
 public:
  GraphExecutor(const Device& device, Transfers& transfers) : device_(device), transfers_(transfers) {}
  ~GraphExecutor() override;

  void run(Steps& steps, const std::atomic<bool>& closing, bool timed) override;
  std::vector<int64_t> nanoseconds() override { return nanoseconds_; }

 private:
  // A run for the buffers at these addresses.
  struct Recording {
    std::vector<std::byte*> bases;
    cudaGraphExec_t graph;
  };

  void renew_copies_between_runs(Steps& steps) const;
  // Calls `each(step)` for every step, after the conversions that the step needs.
  template <class Each>
  void go_through(Steps& steps, Each each) const;
  void run_step_by_step(Steps& steps, const std::atomic<bool>& closing);
  cudaGraphExec_t recorded(Steps& steps);
  cudaGraphExec_t record(Steps& steps) const;

  const Device& device_;
  Transfers& transfers_;
  std::deque<Recording> recordings_;  // the latest first
  std::vector<int64_t> nanoseconds_;
  bool has_run_ = false;
};

}  // namespace kw::cuda
