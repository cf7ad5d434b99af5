#include "emulator/async_copy.h"

#include <cstring>

namespace kw::emulator {

void AsyncCopy::perform() const {
  if (global) {
    std::memcpy(shared, global, bytes);
  } else {
    std::memset(shared, 0, bytes);
  }
}

}  // namespace kw::emulator
