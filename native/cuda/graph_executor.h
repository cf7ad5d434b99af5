// Runs a program on a GPU: the first time step by step, waiting for each so that a fault names its step; from then on as one recorded
// graph for each set of bound buffers.
#pragma once

#include <cuda_runtime.h>

#include <deque>
#include <set>
#include <vector>

#include "cuda/converted_copy.h"
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

  // What the steps write, once for all runs.
  void note_writes(const Steps& steps);
  bool is_written(const ConvertedCopy& copy) const;
  void renew_copies_between_runs(Steps& steps) const;
  // Calls `each(step)` for every step, after the conversions that the step needs.
  template <class Each>
  void go_through(Steps& steps, Each each) const;
  void run_step_by_step(Steps& steps, const std::atomic<bool>& closing);
  cudaGraphExec_t recorded(Steps& steps);
  cudaGraphExec_t record(Steps& steps) const;

  const Device& device_;
  Transfers& transfers_;
  std::set<size_t> written_buffers_;
  std::vector<size_t> writing_steps_;  // those that write more than the workspace
  std::deque<Recording> recordings_;   // the latest first
  std::vector<int64_t> nanoseconds_;
  bool has_run_ = false;
};

}  // namespace kw::cuda
