// Copies between host and GPU, ordered with the runs that use the memory. A copy to the GPU goes over a stream of its own and waits only
// for the runs that its destination is bound to: where two input buffers take turns, the next batch is copied while the last one is
// computed.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "runtime/backend.h"

namespace kw::cuda {

// An event without timing; waiting for it puts the thread to sleep.
class Event {
 public:
  Event();
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  operator cudaEvent_t() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

// Host memory that the GPU copies from and to by itself; kept for the next request of its size class.
class PinnedMemory {
 public:
  ~PinnedMemory();
  std::shared_ptr<std::byte[]> take(size_t bytes);

 private:
  struct Pool {
    std::mutex mutex;
    std::multimap<size_t, std::byte*> idle;  // by size
    size_t idle_bytes = 0;
  };
  const std::shared_ptr<Pool> pool_ = std::make_shared<Pool>();
};

// A result on its way: copied to `destination` once the work before it is done.
struct StagedRead {
  std::byte* destination;
  std::shared_ptr<std::byte[]> staged;
  size_t bytes;
};

class Transfers {
 public:
  explicit Transfers(cudaStream_t compute);
  ~Transfers();

  std::shared_ptr<std::byte[]> staging(size_t bytes) { return pinned_.take(bytes); }
  void write(std::byte* destination, const std::byte* source, size_t bytes);
  void read(std::byte* destination, const std::byte* source, size_t bytes);
  // What read() has staged since the last call.
  std::vector<StagedRead> take_staged();
  // A run that uses memory at these addresses has been queued.
  void used(const std::vector<std::byte*>& bases);
  // The memory at this address is gone.
  void forget(const std::byte* base);

 private:
  // The last queued run that uses the allocation which `address` is in; null when none does.
  std::shared_ptr<Event> last_use(const std::byte* address);

  const cudaStream_t compute_;
  cudaStream_t copies_ = nullptr;
  PinnedMemory pinned_;
  Event copied_;
  std::vector<StagedRead> staged_;
  std::mutex mutex_;                                         // guards the uses: buffers are released on any thread
  std::map<const std::byte*, std::shared_ptr<Event>> uses_;  // by base address
};

}  // namespace kw::cuda
