#include "cpu/cpu_backend.h"

#include <omp.h>

#include <cstring>

#include "cpu/host_memory.h"
#include "cpu/onednn.h"
#include "cpu/processor.h"
#include "cpu/thread_count.h"
#include "runtime/sequential_executor.h"

namespace kw::cpu {

namespace {

// `threads` 0: default_threads().
int checked_threads(int threads) {
  if (threads == 0) return default_threads();
  if (threads < 0 || threads > kMaximumThreads) {
    throw Error(ErrorCode::invalid_argument,
                "threads must be from 1 to " + std::to_string(kMaximumThreads) + " (0: the default), not " + std::to_string(threads));
  }
  return threads;
}

// OpenMP's thread count on the calling thread, for as long as the object lives.
class OpenMpThreads {
 public:
  explicit OpenMpThreads(int threads) : before_(omp_get_max_threads()) { omp_set_num_threads(threads); }
  ~OpenMpThreads() { omp_set_num_threads(before_); }
  OpenMpThreads(const OpenMpThreads&) = delete;
  OpenMpThreads& operator=(const OpenMpThreads&) = delete;

 private:
  const int before_;
};

class CpuBackend final : public Backend {
 public:
  CpuBackend(const KernelRegistry& registry, int threads) : registry_(registry), threads_(checked_threads(threads)) {}

  const KernelRegistry& registry() const override { return registry_; }
  int threads() const override { return threads_; }
  std::string description() const override { return "processor"; }
  // oneDNN partitions its work for the thread count at creation, and must then run with the same.
  std::shared_ptr<void> prepare_thread() override { return std::make_shared<OpenMpThreads>(threads_); }
  void enter_thread() override { omp_set_num_threads(threads_); }

  std::byte* allocate(size_t bytes) override { return allocate_host(bytes); }
  void release(std::byte* data, size_t bytes) noexcept override { release_host(data, bytes); }

  void write(std::byte* destination, const std::byte* source, size_t bytes) override { copy(destination, source, bytes); }
  void read(std::byte* destination, const std::byte* source, size_t bytes) override { copy(destination, source, bytes); }
  void fill_zero(std::byte* data, size_t bytes) override { std::memset(data, 0, bytes); }

  std::unique_ptr<Executor> make_executor() override { return std::make_unique<SequentialExecutor>(); }

 private:
  static void copy(std::byte* destination, const std::byte* source, size_t bytes) {
    if (bytes > 0) std::memcpy(destination, source, bytes);
  }

  const KernelRegistry& registry_;
  const int threads_;
};

}  // namespace

const KernelRegistry& registry() {
  static const KernelRegistry instance = [] {
    instruction_set();  // before anything is asked of oneDNN
    KernelRegistry ops;
    add_activations(ops);
    add_adaptive_avg_pool2d(ops);
    add_attention_function(ops);
    add_attention_module(ops);
    add_batch_norm(ops);
    add_convolution(ops);
    add_cross_entropy(ops);
    add_dropout(ops);
    add_elementwise(ops);
    add_layer_norm(ops);
    add_matmul(ops);
    add_mix_cells(ops);
    add_mixed_convolution(ops);
    add_multiply(ops);
    add_optimizers(ops);
    add_pooling(ops);
    add_reductions(ops);
    add_samplewise_convolution(ops);
    add_self_attention(ops);
    add_transpose(ops);
    return ops;
  }();
  return instance;
}

std::string report() {
  const std::string kernels = name_of(instruction_set());  // first: it may limit oneDNN
  return R"({"kernels": ")" + kernels + R"(", "oneDnn": ")" + onednn_instruction_set_name() + "\"}";
}

std::shared_ptr<Backend> open_backend(int threads, const KernelRegistry& kernels) { return std::make_shared<CpuBackend>(kernels, threads); }

}  // namespace kw::cpu
