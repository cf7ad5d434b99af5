#include "emulator/grid.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace kw::emulator {
namespace {

/** Threads of the operating system that do the same work beside the caller. They keep their stacks for fibers from grid to grid. */
class Workers {
 public:
  /** Calls `work` on the calling thread and on `helpers` others; returns when all calls have returned. */
  void run(int helpers, const std::function<void()>& work) {
    if (helpers > 0) {
      const std::lock_guard<std::mutex> lock(mutex_);
      for (; started_ < helpers; ++started_) std::thread([this] { serve(); }).detach();
      work_ = &work;
      wanted_ = helpers;
      active_ = helpers;
      wake_.notify_all();
    }
    work();
    if (helpers > 0) {
      std::unique_lock<std::mutex> lock(mutex_);
      done_.wait(lock, [this] { return active_ == 0; });
    }
  }

 private:
  void serve() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this] { return wanted_ > 0; });
      --wanted_;
      const std::function<void()>* work = work_;
      lock.unlock();
      (*work)();
      lock.lock();
      if (--active_ == 0) done_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable done_;
  const std::function<void()>* work_ = nullptr;
  int started_ = 0;
  int wanted_ = 0;
  int active_ = 0;
};

/** Never destroyed: its threads wait in it until the process ends. */
Workers& workers() {
  static Workers& instance = *new Workers;
  return instance;
}

Block& block_of_this_thread() {
  static thread_local Block block;
  return block;
}

/** A permutation of 0..count-1, by an odd factor and an offset modulo a power of two. */
class Order {
 public:
  Order(Schedule schedule, std::uint32_t seed, std::size_t count) : schedule_(schedule), count_(count) {
    while (modulus_ < count) modulus_ *= 2;
    factor_ = (std::size_t{seed} * 2654435761u) | 1;
    offset_ = std::size_t{seed} * 40503u;
  }
  std::size_t steps() const { return schedule_ == Schedule::random ? modulus_ : count_; }
  /** The block of step `step`; count or more: none. */
  std::size_t block(std::size_t step) const {
    if (schedule_ == Schedule::forward) return step;
    if (schedule_ == Schedule::reverse) return count_ - 1 - step;
    return (step * factor_ + offset_) & (modulus_ - 1);
  }

 private:
  Schedule schedule_;
  std::size_t count_;
  std::size_t modulus_ = 1;
  std::size_t factor_ = 1;
  std::size_t offset_ = 0;
};

}  // namespace

std::optional<Fault> run_grid(const Launch& launch) {
  static std::mutex one_grid;
  const std::lock_guard<std::mutex> lock(one_grid);
  const dim3 grid = launch.grid;
  const std::size_t count = std::size_t{grid.x} * grid.y * grid.z;
  const Order order(options().schedule, options().seed, count);
  std::atomic<std::size_t> next{0};
  std::atomic<bool> has_failed{false};
  std::optional<Fault> first_fault;
  const std::function<void()> work = [&] {
    prepare_signal_stack();
    Block& block = block_of_this_thread();
    for (std::size_t step; !has_failed && (step = next++) < order.steps();) {
      const std::size_t number = order.block(step);
      if (number >= count) continue;
      const uint3 index = {static_cast<unsigned>(number % grid.x), static_cast<unsigned>(number / grid.x % grid.y),
                           static_cast<unsigned>(number / (std::size_t{grid.x} * grid.y))};
      std::optional<Fault> fault = block.run(launch, index);
      if (fault && !has_failed.exchange(true)) first_fault = std::move(fault);
    }
  };
  const int wanted = options().threads > 0 ? options().threads : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  catch_signals();
  workers().run(static_cast<int>(std::min<std::size_t>(static_cast<std::size_t>(wanted), count)) - 1, work);
  return first_fault;
}

}  // namespace kw::emulator
