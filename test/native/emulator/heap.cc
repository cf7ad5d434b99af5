#include "emulator/heap.h"

#include <cstdint>
#include <new>

namespace kw::emulator {
namespace {

constexpr std::size_t kAlignment = 256;
/** How many freed allocations keep their addresses, so that a use after free faults. */
constexpr std::size_t kRemembered = 256;

std::string outside(const GuardedMemory& memory, const void* address) {
  const auto* place = static_cast<const unsigned char*>(address);
  const std::string size = " an allocation of " + std::to_string(memory.bytes()) + " bytes";
  if (place < memory.data()) return std::to_string(memory.data() - place) + " bytes before" + size;
  return std::to_string(place - memory.data() - static_cast<std::ptrdiff_t>(memory.bytes())) + " bytes past the end of" + size;
}

}  // namespace

// Neither is destroyed, for host code that frees while the process ends.
Heap& device_heap() {
  static Heap& instance = *new Heap;
  return instance;
}

Heap& page_locked_heap() {
  static Heap& instance = *new Heap;
  return instance;
}

void* Heap::allocate(std::size_t bytes, std::size_t capacity) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (bytes > capacity || used_ > capacity - bytes) return nullptr;
  try {
    // In turn at the start and at the end, as only one end of an allocation can touch its guard page.
    auto memory = std::make_unique<GuardedMemory>(bytes, kAlignment, is_next_at_start_ ? Side::start : Side::end);
    is_next_at_start_ = !is_next_at_start_;
    void* address = memory->data();
    allocations_.emplace(address, std::move(memory));
    used_ += bytes;
    return address;
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

bool Heap::free(void* address) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = allocations_.find(address);
  if (found == allocations_.end()) return false;
  used_ -= found->second->bytes();
  found->second->forbid();
  freed_.push_back(std::move(found->second));
  allocations_.erase(found);
  if (freed_.size() > kRemembered) freed_.erase(freed_.begin());
  return true;
}

std::size_t Heap::used_bytes() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return used_;
}

bool Heap::contains(const void* address, std::size_t bytes) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  auto after = allocations_.upper_bound(address);
  return after != allocations_.begin() && (--after)->second->contains(address, bytes);
}

std::string Heap::describe(const void* address) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (const auto& [begin, memory] : allocations_) {
    if (memory->contains(address)) return "in an allocation of " + std::to_string(memory->bytes()) + " bytes";
    if (memory->guards(address)) return outside(*memory, address);
  }
  for (const auto& memory : freed_) {
    if (memory->contains(address)) return "in an allocation of " + std::to_string(memory->bytes()) + " bytes that has been freed";
  }
  return "which is in no allocation of the device";
}

std::optional<std::string> Heap::find_overrun() {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (const auto& [begin, memory] : allocations_) {
    if (const void* changed = memory->find_overrun()) {
      memory->watch_again();
      return "something wrote " + outside(*memory, changed);
    }
  }
  return std::nullopt;
}

void Heap::clear() {
  const std::lock_guard<std::mutex> lock(mutex_);
  allocations_.clear();
  freed_.clear();
  used_ = 0;
}

}  // namespace kw::emulator
