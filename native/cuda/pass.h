// Starting a kernel that goes over the elements of tensors once, in packs where they allow it.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <utility>

#include "cuda/grid.h"
#include "cuda/kernels/map.cuh"
#include "cuda/launch.h"

namespace kw::cuda {

// Every one of the addresses is where a pack may start. A null pointer, an absent tensor, is no obstacle.
inline bool starts_packs(std::initializer_list<const void*> addresses) {
  constexpr std::uintptr_t kPackBytes = 16;
  for (const void* address : addresses) {
    if (reinterpret_cast<std::uintptr_t>(address) % kPackBytes != 0) return false;
  }
  return true;
}

// Blocks for a kernel that does `count` elements in for_packs<kCount>.
template <int kCount>
dim3 packs_grid(const Device& gpu, int64_t count, bool packed) {
  return pass_grid(gpu, packed ? (count + kCount - 1) / kCount : count);
}

// Queues y = Function(x) for `count` elements.
template <class Function, class From, class To>
void launch_map(const Device& gpu, const From* x, int64_t count, To* y) {
  constexpr int kCount = device::max(device::kPack<From>, device::kPack<To>);
  const bool packed = starts_packs({x, y});
  launch(device::map<Function, From, To>, packs_grid<kCount>(gpu, count, packed), kPassThreads, 0, gpu.stream, x, count, packed, y);
}

// Queues y = Function(a, b) for `count` elements.
template <class Function, class T>
void launch_map_pairs(const Device& gpu, const T* a, const T* b, int64_t count, T* y) {
  const bool packed = starts_packs({a, b, y});
  launch(device::map_pairs<Function, T>, packs_grid<device::kPack<T>>(gpu, count, packed), kPassThreads, 0, gpu.stream, a, b, count, packed,
         y);
}

}  // namespace kw::cuda
