// Runs a program's steps one after another on the calling thread: each is done when its kernel returns.
#pragma once

#include "runtime/backend.h"

namespace kw {

class SequentialExecutor final : public Executor {
 public:
  void run(Steps& steps, const std::atomic<bool>& closing, bool timed) override;
  std::vector<int64_t> nanoseconds() override { return nanoseconds_; }

 private:
  std::vector<int64_t> nanoseconds_;
};

}  // namespace kw
