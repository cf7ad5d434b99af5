#include "cuda/cuda_backend.h"

#include <algorithm>
#include <cstring>

#include "cuda/check.h"
#include "cuda/graph_executor.h"
#include "cuda/kernel.h"
#include "cuda/libraries/library_plans.h"
#include "cuda/transfers.h"

namespace kw::cuda {

namespace {

std::string mebibytes(size_t bytes) { return std::to_string((bytes + (size_t{1} << 20) - 1) >> 20) + " MiB"; }

class Streams {
 public:
  explicit Streams(int index) {
    check(cudaSetDevice(index), "choosing GPU " + std::to_string(index));
    check(cudaStreamCreateWithFlags(&compute, cudaStreamNonBlocking), "making a stream");
    check(cudaStreamCreateWithFlags(&filling, cudaStreamNonBlocking), "making a stream");
  }
  ~Streams() {
    cudaStreamDestroy(filling);
    cudaStreamDestroy(compute);
  }
  Streams(const Streams&) = delete;
  Streams& operator=(const Streams&) = delete;

  cudaStream_t compute = nullptr;
  cudaStream_t filling = nullptr;  // new memory is zeroed here, on the allocating thread
};

class CudaFence final : public Fence {
 public:
  CudaFence(cudaStream_t stream, std::vector<StagedRead> reads) : reads_(std::move(reads)) {
    check(cudaEventRecord(done_, stream), "marking the end of queued work");
  }
  void wait() override {
    check(
        cudaEventSynchronize(done_),
        "waiting for queued work (with the environment variable KW_CUDA_STEPWISE=1 every step is waited for, and a fault names its step)");
    for (const StagedRead& read : reads_) std::memcpy(read.destination, read.staged.get(), read.bytes);
  }

 private:
  Event done_;
  const std::vector<StagedRead> reads_;
};

class CudaBackend final : public Backend {
 public:
  explicit CudaBackend(const Device& described)
      : streams_(described.index), device_(with_stream(described, streams_.compute)), transfers_(streams_.compute) {
    add_activations(registry_, device_);
    add_adaptive_avg_pool2d(registry_, device_);
    add_attention_function(registry_, device_);
    add_attention_module(registry_, device_);
    add_batch_norm(registry_, device_);
    add_convolution(registry_, device_);
    add_cross_entropy(registry_, device_);
    add_dropout(registry_, device_);
    add_elementwise(registry_, device_);
    add_layer_norm(registry_, device_);
    add_matmul(registry_, device_);
    add_mix_cells(registry_, device_);
    add_mixed_convolution(registry_, device_);
    add_multiply(registry_, device_);
    add_optimizers(registry_, device_);
    add_pooling(registry_, device_);
    add_reductions(registry_, device_);
    add_samplewise_convolution(registry_, device_);
    add_self_attention(registry_, device_);
    add_transpose(registry_, device_);
  }

  const KernelRegistry& registry() const override { return registry_; }
  int threads() const override { return 1; }
  std::string description() const override { return device_.name; }
  MemoryUse memory_use() const override {
    choose_device();
    size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "asking for the GPU's free memory");
    return {total - free, total};
  }
  void* stream() const override { return device_.stream; }
  void enter_thread() override { choose_device(); }

  std::byte* allocate(size_t bytes) override {
    choose_device();
    void* data = nullptr;
    if (const cudaError_t status = cudaMalloc(&data, std::max<size_t>(bytes, 1)); status != cudaSuccess) {
      cudaGetLastError();
      if (status != cudaErrorMemoryAllocation) check(status, "allocating " + std::to_string(bytes) + " bytes");
      size_t free = 0, total = 0;
      cudaMemGetInfo(&free, &total);
      throw Error(ErrorCode::out_of_memory, "Cannot allocate " + mebibytes(bytes) + " on " + device_.name + ": " + mebibytes(free) +
                                                " of its " + mebibytes(total) +
                                                " are free. Use a smaller batch or image, or release programs and buffers");
    }
    check(cudaMemsetAsync(data, 0, bytes, streams_.filling), "zeroing new memory");
    check(cudaStreamSynchronize(streams_.filling), "zeroing new memory");
    return static_cast<std::byte*>(data);
  }
  // cudaFree waits for what is running, so that nothing loses memory that it uses.
  void release(std::byte* data, size_t) noexcept override {
    transfers_.forget(data);
    cudaFree(data);
  }
  std::shared_ptr<std::byte[]> staging(size_t bytes) override {
    choose_device();
    return transfers_.staging(bytes);
  }

  void write(std::byte* destination, const std::byte* source, size_t bytes) override { transfers_.write(destination, source, bytes); }
  void read(std::byte* destination, const std::byte* source, size_t bytes) override { transfers_.read(destination, source, bytes); }
  void fill_zero(std::byte* data, size_t bytes) override {
    check(cudaMemsetAsync(data, 0, bytes, device_.stream), "zeroing memory");
    transfers_.used({data});
  }

  std::unique_ptr<Executor> make_executor() override {
    choose_device();
    return std::make_unique<GraphExecutor>(device_, transfers_);
  }
  std::unique_ptr<Fence> fence() override { return std::make_unique<CudaFence>(device_.stream, transfers_.take_staged()); }
  bool is_asynchronous() const override { return true; }

 private:
  static Device with_stream(Device device, cudaStream_t stream) {
    device.stream = stream;
    device.libraries = std::make_shared<LibraryPlans>(stream, device.tf32);
    return device;
  }
  // CUDA keeps the choice for each thread.
  void choose_device() const { check(cudaSetDevice(device_.index), "choosing GPU " + std::to_string(device_.index)); }

  Streams streams_;
  const Device device_;
  Transfers transfers_;
  KernelRegistry registry_;
};

}  // namespace

std::shared_ptr<Backend> open_backend(const PluginOptions& options) {
  return std::make_shared<CudaBackend>(describe_device(options.index, options.tf32));
}

}  // namespace kw::cuda
