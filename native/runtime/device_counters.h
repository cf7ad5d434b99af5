// What lives on a device; counted apart from it, since queued work may hold buffers a moment longer than the device's handle.
#pragma once

#include <atomic>
#include <cstddef>

namespace kw {

struct DeviceCounters {
  std::atomic<size_t> buffers{0};
  std::atomic<size_t> bytes{0};  // own memory only; wrapped buffers belong to others
  std::atomic<size_t> programs{0};
};

}  // namespace kw
