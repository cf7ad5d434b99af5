// Checked accesses to memory: vectors, asynchronous copies, arrays in shared memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "emulator/block.h"

namespace kw::emulator {

[[noreturn]] void fail_alignment(const char* activity, const void* address, std::size_t bytes, Location location);

inline void require_alignment(const char* activity, const void* address, std::size_t bytes, Location location) {
  current_block->enter(activity, location);
  if (reinterpret_cast<std::uintptr_t>(address) % bytes != 0) fail_alignment(activity, address, bytes, location);
}

/** The array in shared memory that `key` stands for. */
void* shared_array(const void* key, std::size_t bytes);

/** Starts a copy of the running thread; zeros when not `valid`. */
void start_copy(const char* activity, void* shared, const void* global, std::size_t bytes, bool valid, Location location);

/** Performs the running thread's copies but those of the `newest` last groups. */
void wait_copies(int newest);

}  // namespace kw::emulator
