#include "cuda/graph_executor.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string>

#include "cuda/check.h"
#include "cuda/converted_copy.h"

namespace kw::cuda {

namespace {

// Two input buffers that take turns need two; who binds new ones at each run would else fill the memory with graphs.
constexpr size_t kRecordings = 4;

bool wants_step_by_step() {
  const char* value = std::getenv("KW_CUDA_STEPWISE");
  return value != nullptr && std::string(value) == "1";
}

size_t source_buffer(const ConvertedCopy& copy) { return static_cast<size_t>(copy.source().buffer); }

}  // namespace

GraphExecutor::~GraphExecutor() {
  cudaStreamSynchronize(device_.stream);
  for (const Recording& recording : recordings_) cudaGraphExecDestroy(recording.graph);
}

void GraphExecutor::note_writes(const Steps& steps) {
  for (size_t step = 0; step < steps.plan().steps.size(); ++step) {
    const auto& buffers = steps.written(step);
    written_buffers_.insert(buffers.begin(), buffers.end());
    if (std::any_of(buffers.begin(), buffers.end(), [](size_t buffer) { return buffer != 0; })) writing_steps_.push_back(step);
  }
}

bool GraphExecutor::is_written(const ConvertedCopy& copy) const { return written_buffers_.count(source_buffer(copy)) > 0; }

void GraphExecutor::run(Steps& steps, const std::atomic<bool>& closing, bool timed) {
  if (closing) throw Error(ErrorCode::disposed, "Program '" + steps.plan().name + "' was stopped: the device was closed");
  if (written_buffers_.empty()) note_writes(steps);
  renew_copies_between_runs(steps);
  if (timed || !has_run_ || wants_step_by_step()) {
    run_step_by_step(steps, closing);
    has_run_ = true;
  } else {
    check(cudaGraphLaunch(recorded(steps), device_.stream), "starting the recorded steps of program '" + steps.plan().name + "'");
  }
  transfers_.used(steps.memory().bases_);
  for (const size_t step : writing_steps_) steps.mark_written(step);
}

void GraphExecutor::renew_copies_between_runs(Steps& steps) const {
  for (const auto& copy : converted_copies(steps.resources())) {
    if (is_written(*copy)) continue;
    const uint64_t version = steps.memory().version(copy->source());
    const void* base = steps.memory().base(copy->source());
    if (copy->version == version && copy->base == base) continue;
    copy->renew(steps.memory());
    copy->version = version;
    copy->base = base;
  }
}

template <class Each>
void GraphExecutor::go_through(Steps& steps, Each each) const {
  std::set<ConvertedCopy*> stale;
  for (const auto& copy : converted_copies(steps.resources())) {
    if (is_written(*copy)) stale.insert(copy.get());
  }
  for (size_t step = 0; step < steps.plan().steps.size(); ++step) {
    for (auto copy = stale.begin(); copy != stale.end();) {
      const auto& readers = (*copy)->readers;
      if (std::find(readers.begin(), readers.end(), step) == readers.end()) {
        ++copy;
        continue;
      }
      (*copy)->renew(steps.memory());
      copy = stale.erase(copy);
    }
    each(step);
    for (const auto& copy : converted_copies(steps.resources())) {
      const auto& buffers = steps.written(step);
      if (std::find(buffers.begin(), buffers.end(), source_buffer(*copy)) != buffers.end()) stale.insert(copy.get());
    }
  }
}

void GraphExecutor::run_step_by_step(Steps& steps, const std::atomic<bool>& closing) {
  using Clock = std::chrono::steady_clock;
  std::vector<int64_t> nanoseconds(steps.plan().steps.size());
  check(cudaStreamSynchronize(device_.stream), "waiting for the work before program '" + steps.plan().name + "'");
  go_through(steps, [&](size_t step) {
    if (closing) throw Error(ErrorCode::disposed, "Program '" + steps.plan().name + "' was stopped: the device was closed");
    const auto before = Clock::now();
    steps.run(step);
    check(cudaStreamSynchronize(device_.stream), "running " + steps.describe(step));
    nanoseconds[step] = std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - before).count();
  });
  nanoseconds_ = std::move(nanoseconds);
}

cudaGraphExec_t GraphExecutor::recorded(Steps& steps) {
  const auto& bases = steps.memory().bases_;
  auto found = std::find_if(recordings_.begin(), recordings_.end(), [&](const Recording& recording) { return recording.bases == bases; });
  if (found != recordings_.end()) {
    std::rotate(recordings_.begin(), found, found + 1);
    return recordings_.front().graph;
  }
  if (recordings_.size() == kRecordings) {
    check(cudaStreamSynchronize(device_.stream), "waiting for the runs of a recording that gives way");
    cudaGraphExecDestroy(recordings_.back().graph);
    recordings_.pop_back();
  }
  recordings_.push_front({bases, record(steps)});
  return recordings_.front().graph;
}

cudaGraphExec_t GraphExecutor::record(Steps& steps) const {
  const std::string what = "recording the steps of program '" + steps.plan().name + "'";
  check(cudaStreamBeginCapture(device_.stream, cudaStreamCaptureModeThreadLocal), what);
  cudaGraph_t graph = nullptr;
  try {
    go_through(steps, [&](size_t step) { steps.run(step); });
  } catch (...) {
    cudaStreamEndCapture(device_.stream, &graph);
    cudaGraphDestroy(graph);
    cudaGetLastError();
    throw;
  }
  check(cudaStreamEndCapture(device_.stream, &graph), what);
  cudaGraphExec_t executable = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  check(status, what);
  return executable;
}

}  // namespace kw::cuda
