// A device's stream: one thread that does the queued tasks in order and sleeps when there are none. Where the backend only queues work
// itself, a second thread waits for its fences, so that the first one can go on.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "runtime/error.h"

namespace kw {

class Backend;
class Fence;

// Long work asks `closing` now and then and ends early, with `disposed`, when it is set.
using Work = std::function<void(const std::atomic<bool>& closing)>;

// Called once when a task is done, in the order of the tasks; the error is null on success. On a thread of the stream's, or the closing
// one when cancelled.
using Completion = std::function<void(const Error*)>;

class Stream {
 public:
  explicit Stream(std::shared_ptr<Backend> backend);
  ~Stream();  // finishes what is queued; from a task or completion of its own, the thread is left to finish alone
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // Queues `work`; what it holds is released before `done` (may be empty) is called. Throws disposed after close.
  void enqueue(Work work, Completion done);
  // Waits until everything queued so far is done, then throws the first error since the last call that had no completion.
  void synchronize();
  // Cancels what waits, waits for what runs, refuses the rest.
  void close();

 private:
  bool on_stream_thread() const;

  struct Task {
    Work work;
    Completion done;
  };
  // A task whose work has been queued by the backend, or has failed to be.
  struct Queued {
    Task task;
    std::unique_ptr<Fence> fence;
    std::optional<Error> error;
  };
  // Apart from the stream, since the thread may outlive it for a moment.
  struct State {
    std::mutex mutex;
    std::condition_variable changed;
    std::deque<Task> queue;
    std::deque<Queued> unfinished;  // asynchronous backends only
    bool working = true;            // the first thread has not ended
    uint64_t queued = 0;
    uint64_t finished = 0;
    bool stopping = false;
    std::atomic<bool> closing = false;
    std::optional<Error> unreported;
  };

  static void work_through(const std::shared_ptr<State>& state, const std::shared_ptr<Backend>& backend);
  static void finish_queued(const std::shared_ptr<State>& state, const std::shared_ptr<Backend>& backend);
  static void finish(const std::shared_ptr<State>& state, Task task, const Error* error);
  static void run(const std::shared_ptr<State>& state, Backend& backend, Task task);

  std::shared_ptr<State> state_;
  std::thread thread_;
  std::thread finishing_thread_;  // asynchronous backends only
};

}  // namespace kw
