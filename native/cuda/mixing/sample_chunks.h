// How the samples of a mixed convolution are divided into chunks, whose weights exist at the same time.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuda/device.h"
#include "cuda/grid.h"

namespace kw::cuda {

// Samples of a chunk, 1 to `batch`, and nearly the same number in each. `weight_bytes`: of a sample; `tiles`: blocks that the convolution
// of a sample has; `fixed_bytes`: what each chunk reads and writes again beside its weights.
//
// Weights of two chunks, one being written and one being read, should fit into half of the L2 cache. But a chunk with fewer tiles than
// multiprocessors leaves some of them idle, which costs more than reading weights from memory; and what is read again for each chunk should
// stay below half of the weights' own traffic, three passes, unless it stays in the cache too.
inline int64_t samples_of_chunk(const Device& gpu, int64_t batch, int64_t weight_bytes, int64_t tiles, int64_t fixed_bytes) {
  const int64_t cache = static_cast<int64_t>(gpu.l2_bytes) / 2;
  const int64_t within_cache = cache / (2 * weight_bytes);
  const int64_t filling = whole_parts(gpu.multiprocessors, tiles);
  const int64_t amortizing = fixed_bytes > cache ? whole_parts(2 * fixed_bytes, 3 * weight_bytes) : 1;
  const int64_t most = std::clamp<int64_t>(std::max({within_cache, filling, amortizing}), 1, batch);
  return whole_parts(batch, whole_parts(batch, most));
}

}  // namespace kw::cuda
