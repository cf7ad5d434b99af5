// Zero-filled, 64-byte aligned host memory. Refuses what this machine cannot hold instead of being killed for it later.
#pragma once

#include <cstddef>

namespace kw::cpu {

// Throws out_of_memory.
std::byte* allocate_host(size_t bytes);
void release_host(std::byte* data, size_t bytes) noexcept;

}  // namespace kw::cpu
