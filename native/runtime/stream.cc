#include "runtime/stream.h"

#include <omp.h>

#include <new>
#include <string>
#include <utility>

#if defined(__linux__)
#include <pthread.h>
#endif

namespace kw {

Stream::Stream(int threads) : state_(std::make_shared<State>()) {
  try {
    thread_ = std::thread([state = state_, threads] { work_through(state, threads); });
  } catch (const std::system_error& error) {
    throw Error(ErrorCode::out_of_memory, std::string("Cannot start the device's thread: ") + error.what());
  }
}

Stream::~Stream() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
  }
  state_->changed.notify_all();
  if (on_stream_thread()) {
    thread_.detach();
  } else {
    thread_.join();
  }
}

void Stream::enqueue(Work work, Completion done) {
  // Once queued, the completion may release this stream before this function returns.
  const std::shared_ptr<State> state = state_;
  const std::lock_guard lock(state->mutex);
  if (state->closing) throw Error(ErrorCode::disposed, "The device is closed");
  state->queue.push_back({std::move(work), std::move(done)});
  ++state->queued;
  state->changed.notify_all();
}

void Stream::synchronize() {
  if (on_stream_thread()) throw Error(ErrorCode::invalid_argument, "A callback of the device cannot wait for the device");
  std::unique_lock lock(state_->mutex);
  const uint64_t target = state_->queued;
  state_->changed.wait(lock, [&] { return state_->finished >= target; });
  if (auto error = std::exchange(state_->unreported, std::nullopt)) throw *error;
}

void Stream::close() {
  if (on_stream_thread()) throw Error(ErrorCode::invalid_argument, "A callback of the device cannot close the device");
  std::deque<Task> cancelled;
  {
    const std::lock_guard lock(state_->mutex);
    state_->closing = true;
    cancelled.swap(state_->queue);
  }
  const Error error(ErrorCode::disposed, "Cancelled: the device was closed");
  for (Task& task : cancelled) finish(state_, std::move(task), &error);
  std::unique_lock lock(state_->mutex);
  state_->changed.wait(lock, [&] { return state_->finished == state_->queued; });
}

void Stream::work_through(const std::shared_ptr<State>& state, int threads) {
  omp_set_num_threads(threads);
#if defined(__linux__)
  pthread_setname_np(pthread_self(), "kw-device");
#endif
  for (;;) {
    Task task;
    {
      std::unique_lock lock(state->mutex);
      state->changed.wait(lock, [&] { return state->stopping || !state->queue.empty(); });
      if (state->queue.empty()) return;
      task = std::move(state->queue.front());
      state->queue.pop_front();
    }
    run(state, std::move(task));
  }
}

void Stream::run(const std::shared_ptr<State>& state, Task task) {
  std::optional<Error> error;
  try {
    task.work(state->closing);
  } catch (const Error& thrown) {
    error = thrown;
  } catch (const std::bad_alloc&) {
    error = Error(ErrorCode::out_of_memory, "Out of memory");
  } catch (const std::exception& thrown) {
    error = Error(ErrorCode::internal, thrown.what());
  } catch (...) {
    error = Error(ErrorCode::internal, "Unknown exception");
  }
  finish(state, std::move(task), error ? &*error : nullptr);
}

void Stream::finish(const std::shared_ptr<State>& state, Task task, const Error* error) {
  task.work = nullptr;
  if (task.done) task.done(error);
  const bool reported = static_cast<bool>(task.done);
  task.done = nullptr;
  {
    const std::lock_guard lock(state->mutex);
    if (error != nullptr && !reported && !state->unreported) state->unreported = *error;
    ++state->finished;
  }
  state->changed.notify_all();
}

}  // namespace kw
