#include "emulator/block.h"

#include <bit>
#include <cstdlib>
#include <cstring>
#include <map>

namespace kw::emulator {

thread_local Block* current_block = nullptr;

namespace {

constexpr int kWholeBlock = 0;  // the barrier of synchronize

std::uint32_t bit(int lane) { return std::uint32_t{1} << lane; }

bool is_same(Location a, Location b) {
  return a.line() == b.line() && (a.file_name() == b.file_name() || std::strcmp(a.file_name(), b.file_name()) == 0);
}

std::string describe(uint3 index) {
  return "(" + std::to_string(index.x) + "," + std::to_string(index.y) + "," + std::to_string(index.z) + ")";
}

std::string describe(const char* activity, Location location) { return std::string(activity) + " at " + emulator::describe(location); }

/** "0-31, 40, 42-63" of ascending numbers. */
std::string ranges(const std::vector<int>& numbers) {
  std::string text;
  for (std::size_t i = 0; i < numbers.size();) {
    std::size_t last = i;
    while (last + 1 < numbers.size() && numbers[last + 1] == numbers[last] + 1) ++last;
    text += (text.empty() ? "" : ", ") + std::to_string(numbers[i]);
    if (last > i) text += "-" + std::to_string(numbers[last]);
    i = last + 1;
  }
  return text;
}

}  // namespace

Block::Block() : threads_(std::make_unique<Thread[]>(kMostThreads)) {}
Block::~Block() = default;

void Block::prepare(const Launch& launch, uint3 index) {
  launch_ = &launch;
  index_ = index;
  size_ = static_cast<int>(launch.block.x * launch.block.y * launch.block.z);
  warp_count_ = (size_ + kWarpSize - 1) / kWarpSize;
  living_ = size_;
  schedule_ = options().schedule;
  random_state_ = options().seed * 2654435761u + index.x * 40503u + index.y * 97u + index.z * 7919u;
  if (random_state_ == 0) random_state_ = 1;
  fault_.reset();
  shared_.prepare(launch.shared_bytes);
  for (Barrier& barrier : barriers_) barrier = {};
  warps_.assign(static_cast<std::size_t>(warp_count_), Warp());
  while (stacks_.size() < static_cast<std::size_t>(size_)) stacks_.push_back(std::make_unique<Stack>(stacks_.size()));
  for (int number = 0; number < size_; ++number) {
    Thread& thread = threads_[static_cast<std::size_t>(number)];
    const unsigned n = static_cast<unsigned>(number);
    thread.index = {n % launch.block.x, n / launch.block.x % launch.block.y, n / (launch.block.x * launch.block.y)};
    thread.number = number;
    thread.lane = number % kWarpSize;
    thread.warp = number / kWarpSize;
    thread.has_returned = false;
    thread.barrier = kNoBarrier;
    thread.activity = nullptr;
    thread.copies.clear();
    thread.fiber.prepare(*stacks_[static_cast<std::size_t>(number)], thread_main);
    warp_of(thread).living |= bit(thread.lane);
    warp_of(thread).ready |= bit(thread.lane);
  }
}

std::optional<Fault> Block::run(const Launch& launch, uint3 index) {
  prepare(launch, index);
  current_block = this;
  current_ = next_ready(-1, -1);
  origin_.switch_to(current_->fiber);
  current_block = nullptr;
  if (!fault_ && shared_.is_overrun()) {
    fault_ = Fault{FaultKind::illegal_address, "a thread wrote just outside of its block's shared memory (" +
                                                   std::to_string(launch.shared_bytes) + " bytes), in kernel " +
                                                   function_name(launch.kernel) + ", block " + describe(index)};
  }
  return fault_;
}

void Block::thread_main() {
  Block& block = *current_block;
  Fiber::started(block.origin_);
  block.launch_->body();
  block.end_thread();
}

void Block::end_thread() {
  Thread& thread = *current_;
  Warp& warp = warp_of(thread);
  thread.has_returned = true;
  --living_;
  warp.living &= ~bit(thread.lane);
  warp.ready &= ~bit(thread.lane);
  // Those who wait may have waited only for this thread.
  if (warp.arrived != 0 && warp.arrived == warp.living) execute(warp);
  Barrier& barrier = barriers_[kWholeBlock];
  if (barrier.arrived > 0 && barrier.arrived == living_) release_all();
  if (living_ == 0) {
    thread.fiber.switch_to(origin_, true);
  } else if (Thread* next = next_ready(thread.warp, thread.lane)) {
    current_ = next;
    thread.fiber.switch_to(next->fiber, true);
  } else {
    fail_stuck();
  }
  std::abort();  // a thread that has returned is not switched to
}

std::uint32_t Block::random() {
  random_state_ ^= random_state_ << 13;
  random_state_ ^= random_state_ >> 17;
  random_state_ ^= random_state_ << 5;
  return random_state_;
}

Thread* Block::next_random(int warp) {
  const int count = warp_count_;
  // Mostly the same warp, so that warps get far ahead of each other.
  const bool stays = warp >= 0 && warps_[static_cast<std::size_t>(warp)].ready != 0 && random() % 4 != 0;
  const int first = stays ? warp : static_cast<int>(random() % static_cast<std::uint32_t>(count));
  for (int i = 0; i < count; ++i) {
    const int candidate = (first + i) % count;
    const std::uint32_t ready = warps_[static_cast<std::size_t>(candidate)].ready;
    if (ready == 0) continue;
    const int turn = static_cast<int>(random() % kWarpSize);
    const int lane = (std::countr_zero(std::rotr(ready, turn)) + turn) % kWarpSize;
    return &threads_[static_cast<std::size_t>(candidate * kWarpSize + lane)];
  }
  return nullptr;
}

Thread* Block::next_ready(int warp, int lane) {
  if (schedule_ == Schedule::random) return next_random(warp);
  const bool is_forward = schedule_ == Schedule::forward;
  const int last_warp = warp_count_ - 1;
  int candidate = warp >= 0 ? warp : (is_forward ? 0 : last_warp);
  const auto step = [&] {
    if (is_forward) {
      candidate = candidate == last_warp ? 0 : candidate + 1;
    } else {
      candidate = candidate == 0 ? last_warp : candidate - 1;
    }
  };
  for (int i = 0; i < warp_count_; ++i, step()) {
    const std::uint32_t ready = warps_[static_cast<std::size_t>(candidate)].ready;
    if (ready == 0) continue;
    int next = 0;
    if (is_forward) {
      const std::uint32_t later = candidate == warp && lane < kWarpSize - 1 ? ready & (~std::uint32_t{0} << (lane + 1)) : ready;
      next = std::countr_zero(later != 0 ? later : ready);
    } else {
      const std::uint32_t earlier = candidate == warp && lane > 0 ? ready & (bit(lane) - 1) : ready;
      next = kWarpSize - 1 - std::countl_zero(earlier != 0 ? earlier : ready);
    }
    return &threads_[static_cast<std::size_t>(candidate * kWarpSize + next)];
  }
  return nullptr;
}

void Block::wait() {
  Thread& thread = *current_;
  warp_of(thread).ready &= ~bit(thread.lane);
  Thread* next = next_ready(thread.warp, thread.lane);
  if (!next) fail_stuck();
  current_ = next;
  thread.fiber.switch_to(next->fiber);
}

void Block::release_all() {
  barriers_[kWholeBlock].arrived = 0;
  for (Warp& warp : warps_) warp.ready = warp.living;
}

void Block::release(int id) {
  barriers_[id].arrived = 0;
  for (int number = 0; number < size_; ++number) {
    Thread& thread = threads_[static_cast<std::size_t>(number)];
    if (thread.barrier != id) continue;
    thread.barrier = kNoBarrier;
    warp_of(thread).ready |= bit(thread.lane);
  }
}

void Block::synchronize(Location location) {
  enter("syncthreads", location);
  Barrier& barrier = barriers_[kWholeBlock];
  if (barrier.arrived == 0) barrier.location = location;
  if (!is_same(barrier.location, location)) fail_divergent(barrier.location);
  if (++barrier.arrived == living_) {
    release_all();
  } else {
    wait();
  }
}

void Block::fail_divergent(Location others) {
  fail(FaultKind::launch_failure, "divergent barrier: this thread is at " + describe("syncthreads", current_->location) +
                                      ", while others of the block wait at " + emulator::describe(others));
}

void Block::synchronize_some(int id, int expected, Location location) {
  enter("named_barrier", location);
  if (id < 1 || id >= kBarriers || expected < 1 || expected > size_ || expected % kWarpSize != 0) {
    fail(FaultKind::launch_failure,
         "named_barrier(" + std::to_string(id) + ", " + std::to_string(expected) + ") at " + emulator::describe(location) +
             ": the barrier is one of 1..15, the threads a multiple of 32 up to the block's " + std::to_string(size_));
  }
  Barrier& barrier = barriers_[id];
  if (barrier.arrived == 0) barrier.expected = expected;
  if (barrier.expected != expected) {
    fail(FaultKind::launch_failure, "threads expect different numbers of threads at named barrier " + std::to_string(id) + ": " +
                                        std::to_string(barrier.expected) + " and " + std::to_string(expected) + " at " +
                                        emulator::describe(location));
  }
  current_->barrier = id;
  if (++barrier.arrived == expected) {
    release(id);
  } else {
    wait();
  }
}

void Block::execute(Warp& warp) {
  const std::uint32_t lanes = warp.arrived;
  if (warp.needs_all_lanes && lanes != ~std::uint32_t{0}) fail_incomplete(warp);
  warp.arrived = 0;
  warp.execute(warp.operands, lanes);
  warp.ready |= lanes;
}

void Block::meet(const char* activity, Location location, void* operand, Warp::Execute execute, bool needs_all_lanes) {
  Thread& thread = *current_;
  Warp& warp = warp_of(thread);
  thread.activity = activity;
  thread.location = location;
  if (warp.arrived == 0) {
    warp.execute = execute;
    warp.needs_all_lanes = needs_all_lanes;
    warp.activity = activity;
    warp.location = location;
  } else if (warp.execute != execute || !is_same(warp.location, location)) {
    fail_different(warp);
  }
  warp.operands[thread.lane] = operand;
  warp.arrived |= bit(thread.lane);
  if (warp.arrived == warp.living) {
    this->execute(warp);
  } else {
    wait();
  }
}

void Block::fail_incomplete(const Warp& warp) {
  fail(FaultKind::launch_failure, describe(warp.activity, warp.location) + " needs all 32 lanes of the warp");
}

void Block::fail_different(const Warp& warp) {
  fail(FaultKind::launch_failure, "lanes of a warp meet in different operations: this one is in " +
                                      describe(current_->activity, current_->location) + ", others are in " +
                                      describe(warp.activity, warp.location));
}

std::string Block::whereabouts() const {
  std::string text = "in kernel " + function_name(launch_->kernel) + ", block " + describe(index_);
  if (current_) text += ", thread " + describe(current_->index);
  return text;
}

void Block::fail(FaultKind kind, const std::string& problem) {
  fault_ = Fault{kind, problem + ", " + whereabouts()};
  current_->fiber.switch_to(origin_, true);
  std::abort();  // a block that has failed does not run on
}

std::string Block::describe_waiting() const {
  std::map<std::string, std::vector<int>> groups;
  for (int number = 0; number < size_; ++number) {
    const Thread& thread = threads_[static_cast<std::size_t>(number)];
    groups[thread.has_returned ? "returned" : "wait in " + describe(thread.activity, thread.location)].push_back(number);
  }
  std::string text;
  for (const auto& [what, numbers] : groups) text += (text.empty() ? "threads " : "; threads ") + ranges(numbers) + " " + what;
  return text;
}

void Block::fail_stuck() { fail(FaultKind::launch_failure, "divergent barrier: no thread of the block can go on; " + describe_waiting()); }

bool Block::overflows_stack(const void* address) const { return stacks_[static_cast<std::size_t>(current_->number)]->guards(address); }

}  // namespace kw::emulator
