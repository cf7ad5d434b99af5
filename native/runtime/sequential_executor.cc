#include "runtime/sequential_executor.h"

#include <chrono>
#include <utility>

namespace kw {

// Timing costs nothing here, so that every run is timed.
void SequentialExecutor::run(Steps& steps, const std::atomic<bool>& closing, bool /*timed*/) {
  using Clock = std::chrono::steady_clock;
  const size_t count = steps.plan().steps.size();
  std::vector<int64_t> nanoseconds(count);
  auto before = Clock::now();
  for (size_t step = 0; step < count; ++step) {
    if (closing) throw Error(ErrorCode::disposed, "Program '" + steps.plan().name + "' was stopped: the device was closed");
    steps.run(step);
    steps.mark_written(step);
    const auto after = Clock::now();
    nanoseconds[step] = std::chrono::duration_cast<std::chrono::nanoseconds>(after - before).count();
    before = after;
  }
  nanoseconds_ = std::move(nanoseconds);
}

}  // namespace kw
