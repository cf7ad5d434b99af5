// Operations of a warp: shuffles and votes. The last lane to come does the work for all.
#pragma once

#include <cstdint>
#include <string>

#include "emulator/block.h"

namespace kw::emulator {

template <class T>
struct ShuffleOperand {
  T value;
  int source;  // lane; kOwnValue: none
  T result;
};

constexpr int kOwnValue = -1;

/** Every lane gets the value of its lane `source`. To read from a lane that does not take part is a fault: its value is undefined. */
template <class T>
T shuffle(const char* activity, Location location, T value, int source) {
  ShuffleOperand<T> operand{value, source, value};
  current_block->meet(activity, location, &operand, [](void* const* operands, std::uint32_t lanes) {
    for (int lane = 0; lane < kWarpSize; ++lane) {
      if (!(lanes >> lane & 1)) continue;
      auto& own = *static_cast<ShuffleOperand<T>*>(operands[lane]);
      if (own.source == kOwnValue) continue;
      if (own.source < 0 || own.source >= kWarpSize || !(lanes >> own.source & 1)) {
        current_block->fail(FaultKind::launch_failure, "lane " + std::to_string(lane) + " reads from lane " + std::to_string(own.source) +
                                                           ", which does not take part, at " + describe(current_block->thread().location));
      }
      own.result = static_cast<ShuffleOperand<T>*>(operands[own.source])->value;
    }
  });
  return operand.result;
}

struct VoteOperand {
  bool predicate;
  std::uint32_t votes;  // of the lanes whose predicate is true
  std::uint32_t lanes;  // that take part
};

inline VoteOperand vote(const char* activity, Location location, bool predicate) {
  VoteOperand operand{predicate, 0, 0};
  current_block->meet(activity, location, &operand, [](void* const* operands, std::uint32_t lanes) {
    std::uint32_t votes = 0;
    for (int lane = 0; lane < kWarpSize; ++lane) {
      if ((lanes >> lane & 1) && static_cast<VoteOperand*>(operands[lane])->predicate) votes |= std::uint32_t{1} << lane;
    }
    for (int lane = 0; lane < kWarpSize; ++lane) {
      if (!(lanes >> lane & 1)) continue;
      static_cast<VoteOperand*>(operands[lane])->votes = votes;
      static_cast<VoteOperand*>(operands[lane])->lanes = lanes;
    }
  });
  return operand;
}

inline void synchronize_warp(Location location) {
  current_block->meet("syncwarp", location, nullptr, [](void* const*, std::uint32_t) {});
}

inline int lane_of_this_thread() { return current_block->thread().lane; }

}  // namespace kw::emulator
