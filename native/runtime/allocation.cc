#include "runtime/allocation.h"

#include <utility>

#include "runtime/backend.h"

namespace kw {

Allocation::Allocation(size_t bytes, std::shared_ptr<Backend> backend, std::shared_ptr<std::atomic<size_t>> counter)
    : backend_(std::move(backend)), counter_(std::move(counter)), data_(backend_->allocate(bytes)), bytes_(bytes) {
  counter_->fetch_add(bytes);
}

Allocation::~Allocation() {
  backend_->release(data_, bytes_);
  counter_->fetch_sub(bytes_);
}

}  // namespace kw
