// Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): 128 random bits from a counter and a key, no state.
#pragma once

#include "cuda/kernels/primitives.cuh"

namespace kw::cuda::device {

struct Random {
  std::uint32_t lanes[4];
};

__device__ __forceinline__ Random philox(Random counter, std::uint32_t first_key, std::uint32_t second_key) {
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t first = std::uint64_t{0xD2511F53} * counter.lanes[0], second = std::uint64_t{0xCD9E8D57} * counter.lanes[2];
    counter = {{static_cast<std::uint32_t>(second >> 32) ^ counter.lanes[1] ^ first_key, static_cast<std::uint32_t>(second),
                static_cast<std::uint32_t>(first >> 32) ^ counter.lanes[3] ^ second_key, static_cast<std::uint32_t>(first)}};
    first_key += 0x9E3779B9;
    second_key += 0xBB67AE85;
  }
  return counter;
}

}  // namespace kw::cuda::device
