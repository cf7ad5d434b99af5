#include "runtime/host_backend.h"

#include <omp.h>

#include <cstring>

#include "runtime/host_executor.h"
#include "runtime/host_memory.h"
#include "runtime/processors.h"

namespace kw {

namespace {

int checked_threads(int threads) {
  if (threads == 0) return default_threads();
  if (threads < 0 || threads > kMaximumThreads) {
    throw Error(ErrorCode::invalid_argument,
                "threads must be from 1 to " + std::to_string(kMaximumThreads) + " (0: the default), not " + std::to_string(threads));
  }
  return threads;
}

class HostBackend final : public Backend {
 public:
  HostBackend(const KernelRegistry& registry, int threads) : registry_(registry), threads_(checked_threads(threads)) {}

  const KernelRegistry& registry() const override { return registry_; }
  int threads() const override { return threads_; }
  std::string description() const override { return "processor"; }
  void enter_thread() override { omp_set_num_threads(threads_); }

  std::byte* allocate(size_t bytes) override { return allocate_host(bytes); }
  void release(std::byte* data, size_t bytes) noexcept override { release_host(data, bytes); }

  void write(std::byte* destination, const std::byte* source, size_t bytes) override { copy(destination, source, bytes); }
  void read(std::byte* destination, const std::byte* source, size_t bytes) override { copy(destination, source, bytes); }
  void fill_zero(std::byte* data, size_t bytes) override { std::memset(data, 0, bytes); }

  std::unique_ptr<Executor> make_executor() override { return std::make_unique<HostExecutor>(); }

 private:
  static void copy(std::byte* destination, const std::byte* source, size_t bytes) {
    if (bytes > 0) std::memcpy(destination, source, bytes);
  }

  const KernelRegistry& registry_;
  const int threads_;
};

}  // namespace

std::shared_ptr<Backend> make_host_backend(const KernelRegistry& registry, int threads) {
  return std::make_shared<HostBackend>(registry, threads);
}

}  // namespace kw
