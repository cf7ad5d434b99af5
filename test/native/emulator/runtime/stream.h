// Streams and events: queues of work, done when it has to be.
#pragma once

#include <cuda_runtime_api.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "emulator/runtime/graph.h"

namespace kw::emulator {

/** A queue's work up to and with its number `number`, counted from 1. */
struct Ticket {
  CUstream_st* stream;
  std::uint64_t number;
};

struct Operation {
  std::function<void()> perform;
  std::vector<Ticket> after;
  bool is_host_function;
  std::chrono::steady_clock::time_point queued;
};

}  // namespace kw::emulator

struct CUstream_st {
  bool waits_for_default_stream = true;
  std::deque<kw::emulator::Operation> pending;
  std::uint64_t queued = 0;
  std::uint64_t completed = 0;
  std::vector<kw::emulator::Ticket> after;  // for the next operation
  int host_functions = 0;                   // pending ones
  std::shared_ptr<kw::emulator::Capture> capture;
  std::vector<std::size_t> captured_last;  // nodes that the next one comes after
};

struct CUevent_st {
  bool has_time = true;
  std::vector<kw::emulator::Ticket> recorded;
  std::shared_ptr<kw::emulator::Capture> capture;  // when it was last recorded in a capture
  std::vector<std::size_t> captured_nodes;
  /** Shared with the operation that sets it, which may be performed when the event has been destroyed. */
  std::shared_ptr<std::chrono::steady_clock::time_point> time;
};

namespace kw::emulator {

/** All streams of the device. Its functions may be called by several threads. */
class Streams {
 public:
  cudaError_t create(cudaStream_t* stream, unsigned flags);
  cudaError_t destroy(cudaStream_t stream);
  /** Queues work; in a capture, adds it to the graph. */
  cudaError_t queue(cudaStream_t stream, std::function<void()> perform, bool is_host_function = false);
  /** The same for a copy to the device. */
  cudaError_t queue_transfer(cudaStream_t stream, std::function<void()> perform);
  cudaError_t synchronize(cudaStream_t stream);
  cudaError_t query(cudaStream_t stream);
  cudaError_t wait(cudaStream_t stream, cudaEvent_t event);
  /** Waits for all streams. */
  cudaError_t synchronize_device();
  /** What a synchronous copy waits for: the default stream, and those that wait for it. */
  cudaError_t synchronize_default();

  cudaError_t create(cudaEvent_t* event, unsigned flags);
  cudaError_t destroy(cudaEvent_t event);
  cudaError_t record(cudaEvent_t event, cudaStream_t stream);
  cudaError_t synchronize(cudaEvent_t event);
  cudaError_t query(cudaEvent_t event);
  cudaError_t elapsed(float* milliseconds, cudaEvent_t start, cudaEvent_t end);

  cudaError_t begin_capture(cudaStream_t stream, cudaStreamCaptureMode mode);
  cudaError_t end_capture(cudaStream_t stream, cudaGraph_t* graph);
  cudaError_t capture_status(cudaStream_t stream, cudaStreamCaptureStatus* status);
  /** Whether this thread may allocate, free or wait now. What may not be done makes the capture invalid. */
  cudaError_t allow_unsafe_call();

  /** Performs what is queued, and destroys all streams and events. */
  void reset();

 private:
  using Lock = std::unique_lock<std::mutex>;

  CUstream_st* find(cudaStream_t stream);
  bool knows(cudaEvent_t event) const { return events_.count(event) > 0; }
  std::uint64_t push(CUstream_st* stream, std::function<void()> perform, bool is_host_function);
  void run_until(Lock& lock, Ticket ticket);
  void run_if_next(Lock& lock, CUstream_st* stream);
  void run_all(Lock& lock);
  bool perform_one(Lock& lock, CUstream_st* stream);
  static bool is_complete(const std::vector<Ticket>& tickets);
  static void invalidate(Capture& capture);
  cudaError_t check_default_stream(CUstream_st* stream);
  void start_progress();
  void make_progress();

  std::mutex mutex_;
  std::condition_variable done_;
  std::condition_variable queued_;
  bool is_performing_ = false;
  bool makes_progress_ = false;
  bool is_idle_ = true;
  CUstream_st default_stream_;
  std::set<CUstream_st*> streams_;
  std::set<CUevent_st*> events_;
  std::vector<std::shared_ptr<Capture>> captures_;
};

Streams& streams();

}  // namespace kw::emulator
