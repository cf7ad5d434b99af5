#include "cpu/host_memory.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <fstream>
#include <limits>
#include <new>
#include <string>

#if defined(__unix__) || defined(__APPLE__)
#include <sys/mman.h>
#include <unistd.h>
#endif

#include "runtime/error.h"

namespace kw::cpu {

namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kMappedFrom = size_t{1} << 20;  // from here on straight from the kernel: zero pages cost nothing until touched

std::atomic<size_t> allocated_total{0};

// Physical memory, or the container's limit where that is lower.
size_t memory_limit() {
  static const size_t limit = [] {
    size_t bytes = std::numeric_limits<size_t>::max() / 2;
#if defined(__unix__) || defined(__APPLE__)
    const long pages = sysconf(_SC_PHYS_PAGES);
    const long page = sysconf(_SC_PAGESIZE);
    if (pages > 0 && page > 0) bytes = static_cast<size_t>(pages) * static_cast<size_t>(page);
#endif
    for (const char* path : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
      size_t container = 0;
      if (std::ifstream(path) >> container && container > 0) bytes = std::min(bytes, container);  // "max" is no number
    }
    return bytes;
  }();
  return limit;
}

bool reserve(size_t bytes) {
  const size_t before = allocated_total.fetch_add(bytes);
  if (bytes <= memory_limit() && before <= memory_limit() - bytes) return true;
  allocated_total.fetch_sub(bytes);
  return false;
}

std::byte* obtain(size_t bytes) {
#if defined(__unix__) || defined(__APPLE__)
  if (bytes >= kMappedFrom) {
    void* mapped = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) return nullptr;
#if defined(MADV_HUGEPAGE)
    madvise(mapped, bytes, MADV_HUGEPAGE);
#endif
    return static_cast<std::byte*>(mapped);
  }
#endif
  void* data = ::operator new(bytes, std::align_val_t{kAlignment}, std::nothrow);
  if (data != nullptr) std::memset(data, 0, bytes);
  return static_cast<std::byte*>(data);
}

void give_back(std::byte* data, size_t bytes) {
#if defined(__unix__) || defined(__APPLE__)
  if (bytes >= kMappedFrom) {
    munmap(data, bytes);
    return;
  }
#endif
  ::operator delete(data, std::align_val_t{kAlignment});
}

}  // namespace

std::byte* allocate_host(size_t bytes) {
  std::byte* data = nullptr;
  if (reserve(bytes)) {
    data = obtain(std::max(bytes, kAlignment));  // an empty buffer has an address too
    if (data == nullptr) allocated_total.fetch_sub(bytes);
  }
  if (data == nullptr) {
    throw Error(ErrorCode::out_of_memory, "Cannot allocate " + std::to_string(bytes) + " bytes; this process holds " +
                                              std::to_string(allocated_total.load()) + " of at most " + std::to_string(memory_limit()) +
                                              ". Use a smaller batch or image, or release programs and buffers");
  }
  return data;
}

void release_host(std::byte* data, size_t bytes) noexcept {
  give_back(data, std::max(bytes, kAlignment));
  allocated_total.fetch_sub(bytes);
}

}  // namespace kw::cpu
