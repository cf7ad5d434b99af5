#include "emulator/guarded_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <new>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define KW_EMULATOR_POISON_REGION(address, bytes) __asan_poison_memory_region(address, bytes)
#define KW_EMULATOR_UNPOISON_REGION(address, bytes) __asan_unpoison_memory_region(address, bytes)
#else
#define KW_EMULATOR_POISON_REGION(address, bytes) (void)0
#define KW_EMULATOR_UNPOISON_REGION(address, bytes) (void)0
#endif

namespace kw::emulator {
namespace {

constexpr unsigned char kWatched = 0xa5;
const std::size_t kPage = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));

std::size_t round_up(std::size_t bytes, std::size_t size) { return (bytes + size - 1) / size * size; }

/** The first byte from `begin` on that is not a watched byte's value, or null. At most a page. */
const unsigned char* find_change(const unsigned char* begin, const unsigned char* end) {
  static const std::vector<unsigned char> unchanged(kPage, kWatched);
  if (std::memcmp(begin, unchanged.data(), static_cast<std::size_t>(end - begin)) == 0) return nullptr;
  return std::find_if(begin, end, [](unsigned char byte) { return byte != kWatched; });
}

}  // namespace

void poison(void* memory, std::size_t bytes) {
  auto* out = static_cast<unsigned char*>(memory);
  constexpr std::uint64_t kPattern = 0x7fff7fff7fff7fff;
  for (; bytes >= sizeof kPattern; out += sizeof kPattern, bytes -= sizeof kPattern) std::memcpy(out, &kPattern, sizeof kPattern);
  std::memcpy(out, &kPattern, bytes);
}

GuardedMemory::GuardedMemory(std::size_t bytes, std::size_t alignment, Side side) : bytes_(bytes) {
  const std::size_t aligned = round_up(bytes, alignment);
  const std::size_t inside = std::max(round_up(aligned, kPage), kPage);
  mapping_bytes_ = inside + 2 * kGuardBytes;
  void* mapping = mmap(nullptr, mapping_bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) throw std::bad_alloc();
  mapping_ = static_cast<unsigned char*>(mapping);
  unsigned char* first = mapping_ + kGuardBytes;
  if (mprotect(first, inside, PROT_READ | PROT_WRITE) != 0) {
    munmap(mapping, mapping_bytes_);
    throw std::bad_alloc();
  }
  data_ = side == Side::start ? first : first + inside - aligned;
  poison(data_, bytes_);
  watch_again();
}

void GuardedMemory::watch_again() {
  unsigned char* first = mapping_ + kGuardBytes;
  unsigned char* last = mapping_ + mapping_bytes_ - kGuardBytes;
  unsigned char* end = data_ + bytes_;
  KW_EMULATOR_UNPOISON_REGION(first, static_cast<std::size_t>(last - first));
  std::memset(first, kWatched, static_cast<std::size_t>(data_ - first));
  std::memset(end, kWatched, static_cast<std::size_t>(last - end));
  KW_EMULATOR_POISON_REGION(first, static_cast<std::size_t>(data_ - first));
  KW_EMULATOR_POISON_REGION(end, static_cast<std::size_t>(last - end));
}

void GuardedMemory::forbid() {
  madvise(mapping_ + kGuardBytes, mapping_bytes_ - 2 * kGuardBytes, MADV_DONTNEED);
  mprotect(mapping_, mapping_bytes_, PROT_NONE);
}

GuardedMemory::~GuardedMemory() {
  KW_EMULATOR_UNPOISON_REGION(mapping_ + kGuardBytes, mapping_bytes_ - 2 * kGuardBytes);
  munmap(mapping_, mapping_bytes_);
}

bool GuardedMemory::contains(const void* address, std::size_t bytes) const {
  const auto* first = static_cast<const unsigned char*>(address);
  return first >= data_ && first <= data_ + bytes_ && bytes <= static_cast<std::size_t>(data_ + bytes_ - first);
}

bool GuardedMemory::guards(const void* address) const {
  return address >= mapping_ && address < mapping_ + mapping_bytes_ && !(address >= data_ && address < data_ + bytes_);
}

#if defined(__SANITIZE_ADDRESS__)
// AddressSanitizer has reported a change where it happened, and would report this look as well.
const void* GuardedMemory::find_overrun() const { return nullptr; }
#else
const void* GuardedMemory::find_overrun() const {
  const void* before = find_change(mapping_ + kGuardBytes, data_);
  return before ? before : find_change(data_ + bytes_, mapping_ + mapping_bytes_ - kGuardBytes);
}
#endif

}  // namespace kw::emulator
