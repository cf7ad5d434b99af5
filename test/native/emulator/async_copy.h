// A thread's asynchronous copies from global to shared memory, in groups.
#pragma once

#include <cstddef>
#include <vector>

#include "emulator/fault.h"

namespace kw::emulator {

struct AsyncCopy {
  void* shared;
  const void* global;  // null: zeros
  std::size_t bytes;
  Location location;

  void perform() const;
};

/** Copies that have been started and not waited for, oldest first. */
class CopyQueue {
 public:
  void clear() {
    copies_.clear();
    groups_.clear();
    first_copy_ = first_group_ = open_ = 0;
  }
  void start(const AsyncCopy& copy) {
    copies_.push_back(copy);
    ++open_;
  }
  void commit() {
    groups_.push_back(open_);
    open_ = 0;
  }
  /** The oldest group is performed, and so on, until `newest` groups are left. `perform` is called for each copy. */
  template <class Perform>
  void wait(std::size_t newest, Perform&& perform) {
    while (groups_.size() - first_group_ > newest) {
      for (std::size_t left = groups_[first_group_++]; left > 0; --left) perform(copies_[first_copy_++]);
    }
    if (first_group_ == groups_.size() && open_ == 0) clear();
  }

 private:
  std::vector<AsyncCopy> copies_;
  std::vector<std::size_t> groups_;
  std::size_t first_copy_ = 0;
  std::size_t first_group_ = 0;
  std::size_t open_ = 0;
};

}  // namespace kw::emulator
