// The emulator's bodies of native/cuda/kernels/primitives.cuh, which documents them.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <string>

#include "emulator/block.h"
#include "emulator/matrix_tile.h"
#include "emulator/memory_access.h"
#include "emulator/warp.h"

namespace kw::cuda::device {

inline unsigned char* dynamic_shared() { return emulator::current_block->shared().dynamic(); }

template <class Tag, class T, int kCount>
inline T* shared_array() {
  static const char key = 0;  // its address stands for this array
  return static_cast<T*>(emulator::shared_array(&key, sizeof(T) * kCount));
}

template <class Vector>
inline Vector load_vector(const void* address, emulator::Location location = emulator::Location::current()) {
  emulator::require_alignment("load_vector", address, sizeof(Vector), location);
  Vector value;
  std::memcpy(&value, address, sizeof value);
  return value;
}

template <class Vector>
inline void store_vector(void* address, Vector value, emulator::Location location = emulator::Location::current()) {
  emulator::require_alignment("store_vector", address, sizeof(Vector), location);
  std::memcpy(address, &value, sizeof value);
}

inline void copy_async_16(void* shared, const void* global, bool valid = true,
                          emulator::Location location = emulator::Location::current()) {
  emulator::start_copy("copy_async_16", shared, global, 16, valid, location);
}

inline void copy_async_8(void* shared, const void* global, bool valid = true, emulator::Location location = emulator::Location::current()) {
  emulator::start_copy("copy_async_8", shared, global, 8, valid, location);
}

inline void copy_async_4(void* shared, const void* global, bool valid = true, emulator::Location location = emulator::Location::current()) {
  emulator::start_copy("copy_async_4", shared, global, 4, valid, location);
}

inline void commit_copies() { emulator::current_block->thread().copies.commit(); }

template <int kNewest>
inline void wait_copies() {
  emulator::wait_copies(kNewest);
}

inline void load_matrix_x4(std::uint32_t (&fragment)[4], const void* row, emulator::Location location = emulator::Location::current()) {
  emulator::load_matrix(fragment, row, false, location);
}

inline void load_matrix_x4_transposed(std::uint32_t (&fragment)[4], const void* row,
                                      emulator::Location location = emulator::Location::current()) {
  emulator::load_matrix(fragment, row, true, location);
}

template <int kRowTiles, int kColumnTiles>
inline void multiply_tile(float (&accumulator)[kRowTiles][kColumnTiles][4], const std::uint32_t (&a)[kRowTiles][4],
                          const std::uint32_t (&b)[kColumnTiles][2], emulator::Location location = emulator::Location::current()) {
  emulator::TileOperand<kRowTiles, kColumnTiles> operand{accumulator, a, b};
  emulator::current_block->meet("multiply_tile", location, &operand, emulator::multiply_bfloat16_tiles<kRowTiles, kColumnTiles>, true);
}

template <int kRowTiles, int kColumnTiles>
inline void multiply_tile_tf32(float (&accumulator)[kRowTiles][kColumnTiles][4], const std::uint32_t (&a)[kRowTiles][4],
                               const std::uint32_t (&b)[kColumnTiles][2], emulator::Location location = emulator::Location::current()) {
  emulator::TileOperand<kRowTiles, kColumnTiles> operand{accumulator, a, b};
  emulator::current_block->meet("multiply_tile_tf32", location, &operand, emulator::multiply_tf32_tiles<kRowTiles, kColumnTiles>, true);
}

inline void syncthreads(emulator::Location location = emulator::Location::current()) { emulator::current_block->synchronize(location); }

inline void syncwarp(emulator::Location location = emulator::Location::current()) { emulator::synchronize_warp(location); }

inline void named_barrier(int id, int threads, emulator::Location location = emulator::Location::current()) {
  emulator::current_block->synchronize_some(id, threads, location);
}

inline void thread_fence() { std::atomic_thread_fence(std::memory_order_seq_cst); }

template <class T>
inline T shuffle(T value, int source, emulator::Location location = emulator::Location::current()) {
  return emulator::shuffle("shuffle", location, value, source);
}

template <class T>
inline T shuffle_xor(T value, int distance, emulator::Location location = emulator::Location::current()) {
  return emulator::shuffle("shuffle_xor", location, value, emulator::lane_of_this_thread() ^ distance);
}

template <class T>
inline T shuffle_down(T value, int distance, emulator::Location location = emulator::Location::current()) {
  const int source = emulator::lane_of_this_thread() + distance;
  return emulator::shuffle("shuffle_down", location, value, source < emulator::kWarpSize ? source : emulator::kOwnValue);
}

template <class T>
inline T shuffle_up(T value, int distance, emulator::Location location = emulator::Location::current()) {
  const int source = emulator::lane_of_this_thread() - distance;
  return emulator::shuffle("shuffle_up", location, value, source >= 0 ? source : emulator::kOwnValue);
}

inline unsigned ballot(bool predicate, emulator::Location location = emulator::Location::current()) {
  return emulator::vote("ballot", location, predicate).votes;
}

inline bool any(bool predicate, emulator::Location location = emulator::Location::current()) {
  return emulator::vote("any", location, predicate).votes != 0;
}

inline bool all(bool predicate, emulator::Location location = emulator::Location::current()) {
  const emulator::VoteOperand result = emulator::vote("all", location, predicate);
  return result.votes == result.lanes;
}

inline int atomic_add(int* address, int value) { return std::atomic_ref<int>(*address).fetch_add(value); }
inline unsigned atomic_add(unsigned* address, unsigned value) { return std::atomic_ref<unsigned>(*address).fetch_add(value); }

}  // namespace kw::cuda::device
