// The least that a third backend has to write: memory, copies, a registry with the ops that it has, and `kw_plugin`. It computes on this
// processor, one step after another. Built as libkw_test.so, which the tests open as the device "test".
#include <cstdlib>
#include <cstring>

#include "ops/op_list.h"
#include "runtime/plugin.h"
#include "runtime/sequential_executor.h"

namespace kw {
namespace {

// Steps arrive read and checked. What this backend cannot do, it refuses.
std::unique_ptr<Kernel> prepare_add(const AddStep& step, const KernelContext& context) {
  if (step.a.type != DataType::float32) context.unsupported("the test backend adds float32 only");
  return make_kernel([step, count = step.y.elements()](const Memory& memory) {
    const float *a = memory.data<float>(step.a), *b = memory.data<float>(step.b);
    float* y = memory.data<float>(step.y);
    for (int64_t i = 0; i < count; ++i) y[i] = a[i] + b[i];
  });
}

std::unique_ptr<Kernel> prepare_fill(const FillStep& step, const KernelContext&) {
  return make_kernel([step, count = step.y.elements()](const Memory& memory) {
    float* y = memory.data<float>(step.y);
    for (int64_t i = 0; i < count; ++i) y[i] = step.value;
  });
}

class TestBackend final : public Backend {
 public:
  TestBackend() {
    add_kernel(registry_, ops::add, prepare_add);
    add_kernel(registry_, ops::fill, prepare_fill);
  }

  const KernelRegistry& registry() const override { return registry_; }
  int threads() const override { return 1; }
  std::string description() const override { return "a backend for tests"; }

  std::byte* allocate(size_t bytes) override {
    const size_t blocks = bytes / 64 + 1;
    void* data = std::aligned_alloc(64, blocks * 64);
    if (data == nullptr) throw Error(ErrorCode::out_of_memory, "Cannot allocate " + std::to_string(bytes) + " bytes");
    std::memset(data, 0, blocks * 64);
    return static_cast<std::byte*>(data);
  }
  void release(std::byte* data, size_t) noexcept override { std::free(data); }

  void write(std::byte* destination, const std::byte* source, size_t bytes) override {
    if (bytes > 0) std::memcpy(destination, source, bytes);
  }
  void read(std::byte* destination, const std::byte* source, size_t bytes) override { write(destination, source, bytes); }
  void fill_zero(std::byte* data, size_t bytes) override { std::memset(data, 0, bytes); }

  std::unique_ptr<Executor> make_executor() override { return std::make_unique<SequentialExecutor>(); }

 private:
  KernelRegistry registry_;
};

std::shared_ptr<Backend> open_backend(const PluginOptions&) { return std::make_shared<TestBackend>(); }

}  // namespace
}  // namespace kw

extern "C" __attribute__((visibility("default"))) const kw::Plugin* kw_plugin() {
  static const kw::Plugin plugin{kw::plugin_version(), kw::open_backend, [] { return std::string("{}"); }};
  return &plugin;
}
