#include "emulator/runtime/stream.h"

#include <algorithm>

#include "emulator/options.h"
#include "emulator/runtime/status.h"

namespace kw::emulator {
namespace {

using Clock = std::chrono::steady_clock;

/** How long work waits for somebody to wait for it before it is done anyway. On a device everything is done some time; here that is late,
 * so that host code which forgets to wait finds nothing. */
constexpr std::chrono::milliseconds kPatience{100};
/** With a host function in the queue somebody waits without calling the runtime. */
constexpr std::chrono::milliseconds kPatienceForHostFunction{1};

}  // namespace

Streams& streams() {
  static Streams& instance = *new Streams;  // not destroyed: a thread works in it
  return instance;
}

CUstream_st* Streams::find(cudaStream_t stream) {
  if (!stream) return &default_stream_;
  return streams_.count(stream) > 0 ? stream : nullptr;
}

bool Streams::is_complete(const std::vector<Ticket>& tickets) {
  return std::all_of(tickets.begin(), tickets.end(), [](const Ticket& ticket) { return ticket.stream->completed >= ticket.number; });
}

void Streams::invalidate(Capture& capture) { capture.is_valid = false; }

cudaError_t Streams::check_default_stream(CUstream_st* stream) {
  if (stream != &default_stream_) return cudaSuccess;
  for (const auto& capture : captures_) {
    if (!capture->origin->waits_for_default_stream) continue;
    invalidate(*capture);
    return cudaErrorStreamCaptureImplicit;
  }
  return cudaSuccess;
}

std::uint64_t Streams::push(CUstream_st* stream, std::function<void()> perform, bool is_host_function) {
  Operation operation{std::move(perform), std::move(stream->after), is_host_function, Clock::now()};
  stream->after.clear();
  if (stream == &default_stream_) {
    for (CUstream_st* other : streams_) {
      if (other->waits_for_default_stream && other->queued > other->completed) operation.after.push_back({other, other->queued});
    }
  } else if (stream->waits_for_default_stream && default_stream_.queued > default_stream_.completed) {
    operation.after.push_back({&default_stream_, default_stream_.queued});
  }
  stream->pending.push_back(std::move(operation));
  stream->host_functions += is_host_function ? 1 : 0;
  start_progress();
  // The thread that makes progress looks again by itself when what it knows of is due.
  if (is_idle_ || is_host_function || options().streams == Moment::early) queued_.notify_all();
  return ++stream->queued;
}

/** Performs the first operation of a stream, or one that it comes after. Gives way while another thread performs one; false then. */
bool Streams::perform_one(Lock& lock, CUstream_st* stream) {
  if (is_performing_) {
    done_.wait(lock);
    return false;
  }
  Operation& operation = stream->pending.front();
  for (const Ticket& ticket : operation.after) {
    if (ticket.stream->completed < ticket.number) return perform_one(lock, ticket.stream);
  }
  is_performing_ = true;
  const std::function<void()> perform = std::move(operation.perform);
  lock.unlock();
  if (!has_device_failed()) perform();
  lock.lock();
  stream->host_functions -= stream->pending.front().is_host_function ? 1 : 0;
  stream->pending.pop_front();
  ++stream->completed;
  is_performing_ = false;
  done_.notify_all();
  return true;
}

void Streams::run_until(Lock& lock, Ticket ticket) {
  while (ticket.stream->completed < ticket.number) perform_one(lock, ticket.stream);
}

void Streams::run_all(Lock& lock) {
  run_until(lock, {&default_stream_, default_stream_.queued});
  const std::vector<CUstream_st*> all(streams_.begin(), streams_.end());
  for (CUstream_st* stream : all) {
    if (streams_.count(stream) > 0) run_until(lock, {stream, stream->queued});
  }
}

void Streams::start_progress() {
  if (makes_progress_) return;
  makes_progress_ = true;
  std::thread([this] { make_progress(); }).detach();
}

void Streams::make_progress() {
  Lock lock(mutex_);
  for (;;) {
    CUstream_st* next = nullptr;
    Clock::time_point due = Clock::time_point::max();
    const auto consider = [&](CUstream_st* stream) {
      if (stream->pending.empty()) return;
      const auto patience = options().streams == Moment::early ? std::chrono::milliseconds{0}
                            : stream->host_functions > 0       ? kPatienceForHostFunction
                                                               : kPatience;
      const Clock::time_point when = stream->pending.front().queued + patience;
      if (when < due) {
        due = when;
        next = stream;
      }
    };
    consider(&default_stream_);
    for (CUstream_st* stream : streams_) consider(stream);
    is_idle_ = !next;
    if (!next) {
      queued_.wait(lock);
    } else if (due > Clock::now()) {
      queued_.wait_until(lock, due);
    } else {
      perform_one(lock, next);
    }
  }
}

cudaError_t Streams::create(cudaStream_t* stream, unsigned flags) {
  if (flags > cudaStreamNonBlocking) return cudaErrorInvalidValue;
  const Lock lock(mutex_);
  auto created = std::make_unique<CUstream_st>();
  created->waits_for_default_stream = flags != cudaStreamNonBlocking;
  *stream = created.get();
  streams_.insert(created.release());
  return cudaSuccess;
}

cudaError_t Streams::destroy(cudaStream_t stream) {
  Lock lock(mutex_);
  if (!stream || streams_.count(stream) == 0) return cudaErrorInvalidResourceHandle;
  if (stream->capture) {
    invalidate(*stream->capture);
    std::erase(captures_, stream->capture);
  }
  run_until(lock, {stream, stream->queued});
  // Tickets of it are complete; they are forgotten, as they name it.
  const auto names_it = [stream](const Ticket& ticket) { return ticket.stream == stream; };
  for (CUevent_st* event : events_) std::erase_if(event->recorded, names_it);
  const auto forget = [&](CUstream_st* other) {
    std::erase_if(other->after, names_it);
    for (Operation& operation : other->pending) std::erase_if(operation.after, names_it);
  };
  forget(&default_stream_);
  for (CUstream_st* other : streams_) forget(other);
  streams_.erase(stream);
  delete stream;
  return cudaSuccess;
}

cudaError_t Streams::queue(cudaStream_t stream, std::function<void()> perform, bool is_host_function) {
  Lock lock(mutex_);
  CUstream_st* found = find(stream);
  if (!found) return cudaErrorInvalidResourceHandle;
  if (const cudaError_t status = check_default_stream(found); status != cudaSuccess) return status;
  if (Capture* capture = found->capture.get()) {
    if (!capture->is_valid) return cudaErrorStreamCaptureInvalidated;
    capture->graph.nodes.push_back(
        std::make_shared<CUgraphNode_st>(CUgraphNode_st{std::move(perform), found->captured_last, is_host_function}));
    found->captured_last = {capture->graph.nodes.size() - 1};
    return cudaSuccess;
  }
  const std::uint64_t number = push(found, std::move(perform), is_host_function);
  // A host function may want a lock that the caller has, so it is left to the other thread.
  if (options().streams == Moment::early && found->host_functions == 0) run_until(lock, {found, number});
  return cudaSuccess;
}

cudaError_t Streams::queue_transfer(cudaStream_t stream, std::function<void()> perform) {
  const cudaError_t status = queue(stream, std::move(perform));
  if (status != cudaSuccess || options().transfers == Moment::late) return status;
  Lock lock(mutex_);
  if (CUstream_st* found = find(stream); found && !found->capture) run_if_next(lock, found);
  return cudaSuccess;
}

/** Performs what was queued last where nothing is before it. */
void Streams::run_if_next(Lock& lock, CUstream_st* stream) {
  if (stream->pending.size() == 1 && is_complete(stream->pending.front().after)) run_until(lock, {stream, stream->queued});
}

cudaError_t Streams::synchronize(cudaStream_t stream) {
  Lock lock(mutex_);
  CUstream_st* found = find(stream);
  if (!found) return cudaErrorInvalidResourceHandle;
  if (const cudaError_t status = check_default_stream(found); status != cudaSuccess) return status;
  if (found->capture) {
    invalidate(*found->capture);
    return cudaErrorStreamCaptureUnsupported;
  }
  run_until(lock, {found, found->queued});
  lock.unlock();
  return obstacle();
}

cudaError_t Streams::query(cudaStream_t stream) {
  Lock lock(mutex_);
  CUstream_st* found = find(stream);
  if (!found) return cudaErrorInvalidResourceHandle;
  if (found->capture) {
    invalidate(*found->capture);
    return cudaErrorStreamCaptureUnsupported;
  }
  if (found->pending.empty()) return cudaSuccess;
  perform_one(lock, found);  // whoever asks again and again gets an answer in the end
  return cudaErrorNotReady;
}

cudaError_t Streams::wait(cudaStream_t stream, cudaEvent_t event) {
  const Lock lock(mutex_);
  CUstream_st* found = find(stream);
  if (!found || !knows(event)) return cudaErrorInvalidResourceHandle;
  if (event->capture && !event->capture->is_over) {
    if (found->capture && found->capture != event->capture) {
      invalidate(*found->capture);
      invalidate(*event->capture);
      return cudaErrorStreamCaptureMerge;
    }
    if (!found->capture) {
      found->capture = event->capture;
      found->captured_last.clear();
    }
    for (const std::size_t node : event->captured_nodes) {
      if (std::find(found->captured_last.begin(), found->captured_last.end(), node) == found->captured_last.end())
        found->captured_last.push_back(node);
    }
    return cudaSuccess;
  }
  if (found->capture) {
    if (event->recorded.empty()) return cudaSuccess;
    invalidate(*found->capture);
    return cudaErrorStreamCaptureIsolation;
  }
  found->after.insert(found->after.end(), event->recorded.begin(), event->recorded.end());
  return cudaSuccess;
}

cudaError_t Streams::synchronize_device() {
  Lock lock(mutex_);
  run_all(lock);
  lock.unlock();
  return obstacle();
}

cudaError_t Streams::synchronize_default() {
  Lock lock(mutex_);
  if (const cudaError_t status = check_default_stream(&default_stream_); status != cudaSuccess) return status;
  run_until(lock, {&default_stream_, default_stream_.queued});
  const std::vector<CUstream_st*> all(streams_.begin(), streams_.end());
  for (CUstream_st* stream : all) {
    if (streams_.count(stream) > 0 && stream->waits_for_default_stream && !stream->capture) run_until(lock, {stream, stream->queued});
  }
  lock.unlock();
  return obstacle();
}

cudaError_t Streams::create(cudaEvent_t* event, unsigned flags) {
  const Lock lock(mutex_);
  auto created = std::make_unique<CUevent_st>();
  created->has_time = (flags & cudaEventDisableTiming) == 0;
  *event = created.get();
  events_.insert(created.release());
  return cudaSuccess;
}

cudaError_t Streams::destroy(cudaEvent_t event) {
  const Lock lock(mutex_);
  if (events_.erase(event) == 0) return cudaErrorInvalidResourceHandle;
  delete event;
  return cudaSuccess;
}

cudaError_t Streams::record(cudaEvent_t event, cudaStream_t stream) {
  Lock lock(mutex_);
  CUstream_st* found = find(stream);
  if (!found || !knows(event)) return cudaErrorInvalidResourceHandle;
  if (const cudaError_t status = check_default_stream(found); status != cudaSuccess) return status;
  event->capture = found->capture;
  if (found->capture) {
    if (!found->capture->is_valid) return cudaErrorStreamCaptureInvalidated;
    event->captured_nodes = found->captured_last;
    return cudaSuccess;
  }
  auto time = std::make_shared<Clock::time_point>();
  event->time = time;
  const std::uint64_t number = push(found, [time] { *time = Clock::now(); }, false);
  event->recorded = {{found, number}};
  if (options().streams == Moment::early && found->host_functions == 0) run_until(lock, {found, number});
  // A mark left waiting would keep the copies behind it from running ahead.
  if (options().transfers == Moment::early) run_if_next(lock, found);
  return cudaSuccess;
}

cudaError_t Streams::synchronize(cudaEvent_t event) {
  Lock lock(mutex_);
  if (!knows(event)) return cudaErrorInvalidResourceHandle;
  if (event->capture && !event->capture->is_over) {
    invalidate(*event->capture);
    return cudaErrorCapturedEvent;
  }
  const std::vector<Ticket> recorded = event->recorded;
  for (const Ticket& ticket : recorded) run_until(lock, ticket);
  lock.unlock();
  return obstacle();
}

cudaError_t Streams::query(cudaEvent_t event) {
  Lock lock(mutex_);
  if (!knows(event)) return cudaErrorInvalidResourceHandle;
  if (event->capture && !event->capture->is_over) {
    invalidate(*event->capture);
    return cudaErrorCapturedEvent;
  }
  if (is_complete(event->recorded)) return cudaSuccess;
  perform_one(lock, event->recorded.front().stream);
  return cudaErrorNotReady;
}

cudaError_t Streams::elapsed(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  const Lock lock(mutex_);
  if (!knows(start) || !knows(end) || !start->has_time || !end->has_time || !start->time || !end->time)
    return cudaErrorInvalidResourceHandle;
  if (!is_complete(start->recorded) || !is_complete(end->recorded)) return cudaErrorNotReady;
  *milliseconds = std::chrono::duration<float, std::milli>(*end->time - *start->time).count();
  return cudaSuccess;
}

cudaError_t Streams::begin_capture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  const Lock lock(mutex_);
  CUstream_st* found = find(stream);
  if (!found) return cudaErrorInvalidResourceHandle;
  if (found == &default_stream_) return cudaErrorStreamCaptureUnsupported;
  if (found->capture) return cudaErrorIllegalState;
  found->capture = std::make_shared<Capture>(Capture{found, mode, std::this_thread::get_id(), true, false, {}});
  found->captured_last.clear();
  captures_.push_back(found->capture);
  return cudaSuccess;
}

cudaError_t Streams::end_capture(cudaStream_t stream, cudaGraph_t* graph) {
  const Lock lock(mutex_);
  CUstream_st* found = find(stream);
  if (!found) return cudaErrorInvalidResourceHandle;
  const std::shared_ptr<Capture> capture = found->capture;
  if (!capture) return cudaErrorIllegalState;
  if (capture->origin != found) {
    invalidate(*capture);
    return cudaErrorStreamCaptureUnmatched;
  }
  if (capture->mode != cudaStreamCaptureModeRelaxed && capture->thread != std::this_thread::get_id())
    return cudaErrorStreamCaptureWrongThread;
  // Every node must come before what the origin would do next.
  std::vector<bool> is_joined(capture->graph.nodes.size(), false);
  for (const std::size_t last : found->captured_last) is_joined[last] = true;
  for (std::size_t node = capture->graph.nodes.size(); node-- > 0;) {
    if (!is_joined[node]) continue;
    for (const std::size_t before : capture->graph.nodes[node]->after) is_joined[before] = true;
  }
  const bool has_all = std::all_of(is_joined.begin(), is_joined.end(), [](bool joined) { return joined; });
  capture->is_over = true;
  std::erase(captures_, capture);
  for (CUstream_st* other : streams_) {
    if (other->capture == capture) other->capture.reset();
  }
  *graph = nullptr;
  if (!capture->is_valid) return cudaErrorStreamCaptureInvalidated;
  if (!has_all) return cudaErrorStreamCaptureUnjoined;
  *graph = new CUgraph_st(std::move(capture->graph));
  return cudaSuccess;
}

cudaError_t Streams::capture_status(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  const Lock lock(mutex_);
  CUstream_st* found = find(stream);
  if (!found) return cudaErrorInvalidResourceHandle;
  *status = !found->capture            ? cudaStreamCaptureStatusNone
            : found->capture->is_valid ? cudaStreamCaptureStatusActive
                                       : cudaStreamCaptureStatusInvalidated;
  return cudaSuccess;
}

cudaError_t Streams::allow_unsafe_call() {
  const Lock lock(mutex_);
  const std::thread::id caller = std::this_thread::get_id();
  for (const auto& capture : captures_) {
    const bool is_own = capture->thread == caller && capture->mode == cudaStreamCaptureModeThreadLocal;
    if (capture->mode != cudaStreamCaptureModeGlobal && !is_own) continue;
    invalidate(*capture);
    return cudaErrorStreamCaptureUnsupported;
  }
  return cudaSuccess;
}

void Streams::reset() {
  Lock lock(mutex_);
  run_all(lock);
  for (const auto& capture : captures_) capture->is_over = true;
  captures_.clear();
  for (CUstream_st* stream : streams_) delete stream;
  streams_.clear();
  for (CUevent_st* event : events_) delete event;
  events_.clear();
}

}  // namespace kw::emulator
