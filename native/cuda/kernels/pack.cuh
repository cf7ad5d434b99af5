// Several neighbouring elements, widened: what a thread reads or writes at once. A pack in memory starts at a multiple of 16 bytes; where
// tensors do not, packs of one element do.
#pragma once

#include "cuda/kernels/primitives.cuh"

namespace kw::cuda::device {

// Elements of T in 16 bytes, the longest that a thread reads at once.
template <class T>
constexpr int kPack = 16 / static_cast<int>(sizeof(T));

template <class Number, int kCount>
struct Pack {
  Number values[kCount];

  __device__ __forceinline__ Number& operator[](int i) { return values[i]; }
  __device__ __forceinline__ const Number& operator[](int i) const { return values[i]; }
};

template <class Vector, int kCount, class Number>
__device__ __forceinline__ Pack<Number, kCount> load_fours(const Number* address) {
  Pack<Number, kCount> pack;
#pragma unroll
  for (int i = 0; i < kCount; i += 4) {
    const Vector four = load_vector<Vector>(address + i);
    pack[i] = four.x, pack[i + 1] = four.y, pack[i + 2] = four.z, pack[i + 3] = four.w;
  }
  return pack;
}

// One element, or a multiple of four.
template <int kCount>
__device__ __forceinline__ Pack<float, kCount> load_pack(const float* address) {
  if constexpr (kCount == 1) {
    return {{*address}};
  } else {
    return load_fours<float4, kCount>(address);
  }
}

template <int kCount>
__device__ __forceinline__ Pack<int, kCount> load_pack(const int* address) {
  if constexpr (kCount == 1) {
    return {{*address}};
  } else {
    return load_fours<int4, kCount>(address);
  }
}

// One element, four or eight.
template <int kCount>
__device__ __forceinline__ Pack<float, kCount> load_pack(const bfloat16* address) {
  if constexpr (kCount == 1) {
    return {{to_float(*address)}};
  } else if constexpr (kCount == 4) {
    const uint2 pairs = load_vector<uint2>(address);
    return {{low_bfloat16(pairs.x), high_bfloat16(pairs.x), low_bfloat16(pairs.y), high_bfloat16(pairs.y)}};
  } else {
    static_assert(kCount == 8, "a pack of bfloat16 is at most 16 bytes");
    const uint4 pairs = load_vector<uint4>(address);
    return {{low_bfloat16(pairs.x), high_bfloat16(pairs.x), low_bfloat16(pairs.y), high_bfloat16(pairs.y), low_bfloat16(pairs.z),
             high_bfloat16(pairs.z), low_bfloat16(pairs.w), high_bfloat16(pairs.w)}};
  }
}

template <int kCount>
__device__ __forceinline__ void store_pack(float* address, const Pack<float, kCount>& pack) {
  if constexpr (kCount == 1) {
    *address = pack[0];
  } else {
#pragma unroll
    for (int i = 0; i < kCount; i += 4) store_vector(address + i, make_float4(pack[i], pack[i + 1], pack[i + 2], pack[i + 3]));
  }
}

template <int kCount>
__device__ __forceinline__ void store_pack(int* address, const Pack<int, kCount>& pack) {
  if constexpr (kCount == 1) {
    *address = pack[0];
  } else {
#pragma unroll
    for (int i = 0; i < kCount; i += 4) store_vector(address + i, make_int4(pack[i], pack[i + 1], pack[i + 2], pack[i + 3]));
  }
}

// Rounds each element once.
template <int kCount>
__device__ __forceinline__ void store_pack(bfloat16* address, const Pack<float, kCount>& pack) {
  if constexpr (kCount == 1) {
    *address = to_bfloat16(pack[0]);
  } else if constexpr (kCount == 4) {
    store_vector(address, make_uint2(pack_bfloat16(pack[0], pack[1]), pack_bfloat16(pack[2], pack[3])));
  } else {
    static_assert(kCount == 8, "a pack of bfloat16 is at most 16 bytes");
    store_vector(address, make_uint4(pack_bfloat16(pack[0], pack[1]), pack_bfloat16(pack[2], pack[3]), pack_bfloat16(pack[4], pack[5]),
                                     pack_bfloat16(pack[6], pack[7])));
  }
}

// How many elements a body of for_packs is called for; a type, so that the body knows it when it is compiled.
template <int kCount>
struct Width {
  static constexpr int value = kCount;
};

// Calls body(first element, Width) for the elements 0..count-1 that this thread of the grid does: in packs of kCount where `packed`, what
// is left one by one. Each element is in one call: a body that reads what it writes works in place.
template <int kCount, class Body>
__device__ __forceinline__ void for_packs(long long count, bool packed, const Body& body) {
  const long long thread = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
  const long long threads = static_cast<long long>(gridDim.x) * blockDim.x;
  const long long in_packs = packed ? count / kCount * kCount : 0;
  for (long long i = thread * kCount; i < in_packs; i += threads * kCount) body(i, Width<kCount>());
  for (long long i = in_packs + thread; i < count; i += threads) body(i, Width<1>());
}

}  // namespace kw::cuda::device
