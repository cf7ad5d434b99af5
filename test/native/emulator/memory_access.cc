#include "emulator/memory_access.h"

#include <string>

namespace kw::emulator {
namespace {

constexpr std::size_t kArrayLimit = 48 * 1024;

}  // namespace

void fail_alignment(const char* activity, const void* address, std::size_t bytes, Location location) {
  const std::size_t excess = reinterpret_cast<std::uintptr_t>(address) % bytes;
  current_block->fail(FaultKind::misaligned_address, std::string(activity) + " at " + describe(location) + ": the address is " +
                                                         std::to_string(excess) + " past a multiple of " + std::to_string(bytes) +
                                                         " bytes");
}

void* shared_array(const void* key, std::size_t bytes) {
  Block& block = *current_block;
  void* array = block.shared().array(key, bytes);
  const std::size_t arrays = block.shared().array_bytes();
  const std::size_t total = arrays + block.launch().shared_bytes;
  if (arrays > kArrayLimit || total > shared_limit()) {
    block.fail(FaultKind::launch_failure, "too much shared memory: arrays of " + std::to_string(arrays) + " bytes (limit " +
                                              std::to_string(kArrayLimit) + "), with the dynamic memory " + std::to_string(total) +
                                              " (limit " + std::to_string(shared_limit()) + ")");
  }
  return array;
}

void start_copy(const char* activity, void* shared, const void* global, std::size_t bytes, bool valid, Location location) {
  Block& block = *current_block;
  require_alignment(activity, shared, bytes, location);
  if (valid) require_alignment(activity, global, bytes, location);
  if (!block.shared().contains(shared, bytes)) {
    block.fail(FaultKind::illegal_address,
               std::string(activity) + " at " + describe(location) + ": the destination is not in the block's shared memory");
  }
  const AsyncCopy copy{shared, valid ? global : nullptr, bytes, location};
  if (options().copies == Moment::early) {
    copy.perform();
  } else {
    block.thread().copies.start(copy);
  }
}

void wait_copies(int newest) {
  Block& block = *current_block;
  block.thread().copies.wait(static_cast<std::size_t>(newest), [&](const AsyncCopy& copy) {
    block.enter("copy_async", copy.location);
    copy.perform();
  });
}

}  // namespace kw::emulator
