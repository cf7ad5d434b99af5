// One block of a grid: its threads are fibers, of which one runs at a time, until it has to wait.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "emulator/async_copy.h"
#include "emulator/dimensions.h"
#include "emulator/fault.h"
#include "emulator/fiber.h"
#include "emulator/options.h"
#include "emulator/shared_memory.h"

namespace kw::emulator {

/** A kernel and how it is started. */
struct Launch {
  const void* kernel = nullptr;  // for its name
  dim3 grid;
  dim3 block;
  std::size_t shared_bytes = 0;
  std::function<void()> body;  // one thread of it
};

constexpr int kWarpSize = 32;
constexpr int kMostThreads = 1024;
constexpr int kBarriers = 16;
constexpr int kNoBarrier = -1;

struct Thread {
  Fiber fiber;
  uint3 index;
  int number = 0;  // in the block, x fastest
  int lane = 0;
  int warp = 0;
  bool has_returned = false;
  int barrier = kNoBarrier;  // the named one at which it waits
  const char* activity = nullptr;
  Location location;  // of the activity
  CopyQueue copies;
};

/** Lanes and the operation in which they meet: it is done when all lanes that have not returned have come. */
struct Warp {
  using Execute = void (*)(void* const* operands, std::uint32_t lanes);

  std::uint32_t living = 0;
  std::uint32_t ready = 0;
  std::uint32_t arrived = 0;
  Execute execute = nullptr;
  bool needs_all_lanes = false;
  const char* activity = nullptr;
  Location location;
  void* operands[kWarpSize];
};

struct Barrier {
  int arrived = 0;
  int expected = 0;
  Location location;
};

class Block {
 public:
  Block();
  ~Block();

  /** Runs block `index` of the launch; the result is what went wrong. */
  std::optional<Fault> run(const Launch& launch, uint3 index);

  Thread& thread() { return *current_; }
  const uint3& index() const { return index_; }
  const Launch& launch() const { return *launch_; }
  SharedMemory& shared() { return shared_; }

  /** All threads that have not returned meet here. */
  void synchronize(Location location);

  /** `expected` threads meet at barrier `id`. */
  void synchronize_some(int id, int expected, Location location);

  /** The lanes of the running thread's warp meet: the last one to come calls `execute` with every lane's `operand` and the mask of lanes.
   */
  void meet(const char* activity, Location location, void* operand, Warp::Execute execute, bool needs_all_lanes = false);

  /** Ends the block with a fault that `problem` describes. */
  [[noreturn]] void fail(FaultKind kind, const std::string& problem);

  /** A fault's end of a sentence: kernel, block and thread. */
  std::string whereabouts() const;

  /** Whether `address` is just past the running thread's stack. */
  bool overflows_stack(const void* address) const;

  /** The running thread calls a function of the emulator that can fault; for the fault's description. */
  void enter(const char* activity, Location location) {
    current_->activity = activity;
    current_->location = location;
  }

 private:
  static void thread_main();
  void prepare(const Launch& launch, uint3 index);
  void end_thread();
  Thread* next_ready(int warp, int lane);
  Thread* next_random(int warp);
  std::uint32_t random();
  void wait();
  void release_all();
  void release(int barrier);
  void execute(Warp& warp);
  // The messages are made outside of the functions that every operation goes through, which are shorter for it.
  [[noreturn]] void fail_stuck();
  [[noreturn]] void fail_divergent(Location others);
  [[noreturn]] void fail_different(const Warp& warp);
  [[noreturn]] void fail_incomplete(const Warp& warp);
  std::string describe_waiting() const;
  Warp& warp_of(const Thread& thread) { return warps_[static_cast<std::size_t>(thread.warp)]; }

  const Launch* launch_ = nullptr;
  uint3 index_{};
  int size_ = 0;
  int warp_count_ = 0;
  int living_ = 0;
  std::vector<std::unique_ptr<Stack>> stacks_;
  std::unique_ptr<Thread[]> threads_;
  std::vector<Warp> warps_;
  Barrier barriers_[kBarriers];
  Thread* current_ = nullptr;
  Fiber origin_;
  SharedMemory shared_;
  Schedule schedule_ = Schedule::forward;
  std::uint32_t random_state_ = 1;
  std::optional<Fault> fault_;
};

/** The block that this thread of the operating system runs, or null. */
#if defined(__clang__)
extern thread_local Block* current_block;
#else
extern thread_local Block* current_block __attribute__((tls_model("initial-exec")));
#endif

}  // namespace kw::emulator
