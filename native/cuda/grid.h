// How many blocks a pass over many elements is started with.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuda/device.h"

namespace kw::cuda {

// How many parts of `size` are needed for `count`.
inline int64_t whole_parts(int64_t count, int64_t size) { return (count + size - 1) / size; }

constexpr int kPassThreads = 256;  // threads of a block

// Blocks for a kernel that goes over `count` elements with a stride of the grid: enough to fill the GPU, at least 1.
inline dim3 pass_grid(const Device& device, int64_t count) {
  const int64_t needed = whole_parts(count, kPassThreads);
  return dim3(static_cast<unsigned>(std::clamp<int64_t>(needed, 1, int64_t{8} * device.multiprocessors)));
}

}  // namespace kw::cuda
