#include "runtime/buffer.h"

#include <string>
#include <utility>

#include "runtime/device_counters.h"
#include "runtime/error.h"

namespace kw {

uint64_t next_version() {
  static std::atomic<uint64_t> last{0};
  return ++last;
}

Buffer::Buffer(size_t bytes, std::shared_ptr<Backend> backend, std::shared_ptr<DeviceCounters> counters)
    : counters_(std::move(counters)), bytes_(bytes) {
  allocation_.emplace(bytes, std::move(backend), std::shared_ptr<std::atomic<size_t>>(counters_, &counters_->bytes));
  data_ = allocation_->data();
  ++counters_->buffers;
}

Buffer::Buffer(void* address, size_t bytes, std::function<void()> release, std::shared_ptr<DeviceCounters> counters)
    : counters_(std::move(counters)), release_(std::move(release)), data_(static_cast<std::byte*>(address)), bytes_(bytes) {
  ++counters_->buffers;
}

Buffer::~Buffer() {
  --counters_->buffers;
  if (release_) release_();
}

}  // namespace kw
