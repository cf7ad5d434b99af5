#include "runtime/stream.h"

#include <new>
#include <string>
#include <utility>

#include "runtime/backend.h"

#if defined(__linux__)
#include <pthread.h>
#endif

namespace kw {

namespace {

void name_thread([[maybe_unused]] const char* name) {
#if defined(__linux__)
  pthread_setname_np(pthread_self(), name);
#endif
}

// What `body` throws, as an Error.
template <class Body>
std::optional<Error> error_of(Body body) {
  try {
    body();
    return std::nullopt;
  } catch (const Error& thrown) {
    return thrown;
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::out_of_memory, "Out of memory");
  } catch (const std::exception& thrown) {
    return Error(ErrorCode::internal, thrown.what());
  } catch (...) {
    return Error(ErrorCode::internal, "Unknown exception");
  }
}

}  // namespace

Stream::Stream(std::shared_ptr<Backend> backend) : state_(std::make_shared<State>()) {
  try {
    thread_ = std::thread([state = state_, backend] { work_through(state, backend); });
    if (backend->is_asynchronous()) finishing_thread_ = std::thread([state = state_, backend] { finish_queued(state, backend); });
  } catch (const std::system_error& error) {
    if (thread_.joinable()) {
      {
        const std::lock_guard lock(state_->mutex);
        state_->stopping = true;
      }
      state_->changed.notify_all();
      thread_.join();
    }
    throw Error(ErrorCode::out_of_memory, std::string("Cannot start the device's thread: ") + error.what());
  }
}

Stream::~Stream() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
  }
  state_->changed.notify_all();
  const bool detached = on_stream_thread();
  for (std::thread* thread : {&thread_, &finishing_thread_}) {
    if (!thread->joinable()) continue;
    if (detached) {
      thread->detach();
    } else {
      thread->join();
    }
  }
}

bool Stream::on_stream_thread() const {
  const auto self = std::this_thread::get_id();
  return self == thread_.get_id() || self == finishing_thread_.get_id();
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

void Stream::work_through(const std::shared_ptr<State>& state, const std::shared_ptr<Backend>& backend) {
  backend->enter_thread();
  name_thread("kw-device");
  for (;;) {
    Task task;
    {
      std::unique_lock lock(state->mutex);
      state->changed.wait(lock, [&] { return state->stopping || !state->queue.empty(); });
      if (state->queue.empty()) break;
      task = std::move(state->queue.front());
      state->queue.pop_front();
    }
    run(state, *backend, std::move(task));
  }
  {
    const std::lock_guard lock(state->mutex);
    state->working = false;
  }
  state->changed.notify_all();
}

void Stream::finish_queued(const std::shared_ptr<State>& state, const std::shared_ptr<Backend>& backend) {
  backend->enter_thread();
  name_thread("kw-finish");
  for (;;) {
    Queued queued;
    {
      std::unique_lock lock(state->mutex);
      state->changed.wait(lock, [&] { return !state->working || !state->unfinished.empty(); });
      if (state->unfinished.empty()) return;
      queued = std::move(state->unfinished.front());
      state->unfinished.pop_front();
    }
    // Also after an error: parts of the work may have been queued, and use what the task holds.
    if (queued.fence) {
      auto error = error_of([&] { queued.fence->wait(); });
      if (!queued.error) queued.error = std::move(error);
      queued.fence.reset();
    }
    finish(state, std::move(queued.task), queued.error ? &*queued.error : nullptr);
  }
}

void Stream::run(const std::shared_ptr<State>& state, Backend& backend, Task task) {
  auto error = error_of([&] { task.work(state->closing); });
  if (!backend.is_asynchronous()) {
    finish(state, std::move(task), error ? &*error : nullptr);
    return;
  }
  Queued queued{std::move(task), nullptr, std::move(error)};
  auto unfenced = error_of([&] { queued.fence = backend.fence(); });
  if (!queued.error) queued.error = std::move(unfenced);
  {
    const std::lock_guard lock(state->mutex);
    state->unfinished.push_back(std::move(queued));
  }
  state->changed.notify_all();
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
