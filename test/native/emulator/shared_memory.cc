#include "emulator/shared_memory.h"

#include <algorithm>

namespace kw::emulator {

void SharedMemory::prepare(std::size_t dynamic_bytes) {
  constexpr std::size_t kAlignment = 128;
  if (!dynamic_ || dynamic_->bytes() != dynamic_bytes || dynamic_->find_overrun()) {
    dynamic_ = std::make_unique<GuardedMemory>(dynamic_bytes, kAlignment, Side::end);
  } else {
    poison(dynamic_->data(), dynamic_->bytes());
  }
  std::erase_if(arrays_, [](const Array& array) { return array.is_used && array.memory->find_overrun() != nullptr; });
  for (Array& array : arrays_) array.is_used = false;
  array_bytes_ = 0;
}

void* SharedMemory::array(const void* key, std::size_t bytes) {
  auto found = std::find_if(arrays_.begin(), arrays_.end(), [&](const Array& array) { return array.key == key; });
  if (found == arrays_.end()) {
    constexpr std::size_t kAlignment = 16;
    arrays_.push_back({key, std::make_unique<GuardedMemory>(bytes, kAlignment, Side::end), false});
    found = arrays_.end() - 1;
  }
  if (!found->is_used) {
    found->is_used = true;
    array_bytes_ += bytes;
    poison(found->memory->data(), bytes);
  }
  return found->memory->data();
}

bool SharedMemory::contains(const void* address, std::size_t bytes) const {
  if (dynamic_ && dynamic_->contains(address, bytes)) return true;
  return std::any_of(arrays_.begin(), arrays_.end(),
                     [&](const Array& array) { return array.is_used && array.memory->contains(address, bytes); });
}

bool SharedMemory::guards(const void* address) const {
  if (dynamic_ && dynamic_->guards(address)) return true;
  return std::any_of(arrays_.begin(), arrays_.end(), [&](const Array& array) { return array.memory->guards(address); });
}

bool SharedMemory::is_overrun() const {
  if (dynamic_ && dynamic_->find_overrun()) return true;
  return std::any_of(arrays_.begin(), arrays_.end(),
                     [](const Array& array) { return array.is_used && array.memory->find_overrun() != nullptr; });
}

}  // namespace kw::emulator
