#include "cuda/transfers.h"

#include <cstring>
#include <utility>

#include "cuda/check.h"

namespace kw::cuda {

namespace {

// Larger results are copied straight to their destination, while the device's thread waits.
constexpr size_t kStagedRead = size_t{1} << 20;
constexpr size_t kIdlePinned = size_t{256} << 20;

size_t size_class(size_t bytes) {
  size_t size = 4096;
  while (size < bytes) size *= 2;
  return size;
}

}  // namespace

Event::Event() { check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming | cudaEventBlockingSync), "making an event"); }

Event::~Event() { cudaEventDestroy(event_); }

PinnedMemory::~PinnedMemory() {
  const std::lock_guard lock(pool_->mutex);
  for (const auto& [size, data] : pool_->idle) cudaFreeHost(data);
  pool_->idle.clear();
  pool_->idle_bytes = kIdlePinned;  // what is still in use is freed when it comes back
}

std::shared_ptr<std::byte[]> PinnedMemory::take(size_t bytes) {
  const size_t size = size_class(bytes);
  std::byte* data = nullptr;
  {
    const std::lock_guard lock(pool_->mutex);
    if (const auto found = pool_->idle.find(size); found != pool_->idle.end()) {
      data = found->second;
      pool_->idle.erase(found);
      pool_->idle_bytes -= size;
    }
  }
  if (data == nullptr) {
    void* made = nullptr;
    check(cudaMallocHost(&made, size), "allocating " + std::to_string(size) + " bytes of page-locked host memory");
    data = static_cast<std::byte*>(made);
  }
  return {data, [pool = pool_, size](std::byte* used) {
            const std::lock_guard lock(pool->mutex);
            if (pool->idle_bytes + size > kIdlePinned) {
              cudaFreeHost(used);
              return;
            }
            pool->idle.emplace(size, used);
            pool->idle_bytes += size;
          }};
}

Transfers::Transfers(cudaStream_t compute) : compute_(compute) {
  check(cudaStreamCreateWithFlags(&copies_, cudaStreamNonBlocking), "making a stream for copies");
}

Transfers::~Transfers() {
  cudaStreamSynchronize(copies_);
  cudaStreamDestroy(copies_);
}

std::shared_ptr<Event> Transfers::last_use(const std::byte* address) {
  const std::lock_guard lock(mutex_);
  auto after = uses_.upper_bound(address);
  if (after == uses_.begin()) return nullptr;
  // The nearest use at or below the address may be of another allocation: then the copy waits without need, which is harmless.
  return std::prev(after)->second;
}

void Transfers::write(std::byte* destination, const std::byte* source, size_t bytes) {
  if (bytes == 0) return;
  if (const auto use = last_use(destination)) check(cudaStreamWaitEvent(copies_, *use, 0), "ordering a copy to the GPU");
  check(cudaMemcpyAsync(destination, source, bytes, cudaMemcpyHostToDevice, copies_), "copying to the GPU");
  check(cudaEventRecord(copied_, copies_), "marking a copy to the GPU");
  check(cudaStreamWaitEvent(compute_, copied_, 0), "waiting for a copy to the GPU");
}

void Transfers::read(std::byte* destination, const std::byte* source, size_t bytes) {
  if (bytes == 0) return;
  if (bytes > kStagedRead) {
    check(cudaMemcpyAsync(destination, source, bytes, cudaMemcpyDeviceToHost, compute_), "copying from the GPU");
    return;
  }
  StagedRead staged{destination, pinned_.take(bytes), bytes};
  check(cudaMemcpyAsync(staged.staged.get(), source, bytes, cudaMemcpyDeviceToHost, compute_), "copying from the GPU");
  staged_.push_back(std::move(staged));
}

std::vector<StagedRead> Transfers::take_staged() { return std::exchange(staged_, {}); }

void Transfers::used(const std::vector<std::byte*>& bases) {
  const auto event = std::make_shared<Event>();
  check(cudaEventRecord(*event, compute_), "marking a run");
  const std::lock_guard lock(mutex_);
  for (const std::byte* base : bases) uses_[base] = event;
}

void Transfers::forget(const std::byte* base) {
  const std::lock_guard lock(mutex_);
  uses_.erase(base);
}

}  // namespace kw::cuda
