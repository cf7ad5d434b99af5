// Dropout of elements, or of whole samples. The mask is a function of seed, step, stream and position alone, and the CPU's to the bit.
#pragma once

#include "cuda/kernels/pack.cuh"
#include "cuda/kernels/philox.cuh"

namespace kw::cuda::device {

struct Dropout {
  const std::int32_t *seed, *step;
  std::uint32_t stream;
  std::uint64_t threshold;  // dropped below it: lane * 2^-32 < probability, as integers
  float kept;               // what kept values are multiplied with
};

// The four lanes that decide on draws 4 * group to 4 * group + 3.
__device__ __forceinline__ Random lanes_of(const Dropout& dropout, long long group) {
  constexpr std::uint32_t kKey = 0x4b57;  // fixed by the plan format
  return philox({{static_cast<std::uint32_t>(group), dropout.stream, static_cast<std::uint32_t>(*dropout.step), 0}},
                static_cast<std::uint32_t>(*dropout.seed), kKey);
}

// Chosen, not indexed: an index known only at run time would put the lanes into memory.
__device__ __forceinline__ std::uint32_t lane_of(const Dropout& dropout, long long draw) {
  const Random random = lanes_of(dropout, draw / 4);
  const bool is_odd = draw % 2 != 0;
  return draw % 4 < 2 ? (is_odd ? random.lanes[1] : random.lanes[0]) : (is_odd ? random.lanes[3] : random.lanes[2]);
}

// A dropped value is 0 even where x is not finite.
__device__ __forceinline__ float dropped_out(const Dropout& dropout, std::uint32_t lane, float value) {
  return lane < dropout.threshold ? 0.0f : value * dropout.kept;
}

// A draw for each element.
template <class T>
__global__ void drop_elements(Dropout dropout, const T* x, long long count, bool packed, T* y) {
  for_packs<kPack<T>>(count, packed, [&](long long i, auto width) {
    auto values = load_pack<width.value>(x + i);
    if constexpr (width.value == 1) {
      values[0] = dropped_out(dropout, lane_of(dropout, i), values[0]);
    } else {
#pragma unroll
      for (int k = 0; k < width.value; k += 4) {
        const Random random = lanes_of(dropout, (i + k) / 4);
#pragma unroll
        for (int lane = 0; lane < 4; ++lane) values[k + lane] = dropped_out(dropout, random.lanes[lane], values[k + lane]);
      }
    }
    store_pack(y + i, values);
  });
}

// A draw for each `size` elements. Packs are for multiples of kPack<T>.
template <class T>
__global__ void drop_samples(Dropout dropout, const T* x, long long count, long long size, bool packed, T* y) {
  for_packs<kPack<T>>(count, packed, [&](long long i, auto width) {
    auto values = load_pack<width.value>(x + i);
    const std::uint32_t lane = lane_of(dropout, i / size);
#pragma unroll
    for (int k = 0; k < width.value; ++k) values[k] = dropped_out(dropout, lane, values[k]);
    store_pack(y + i, values);
  });
}

}  // namespace kw::cuda::device
