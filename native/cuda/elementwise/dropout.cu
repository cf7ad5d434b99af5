// Dropout of elements, or of whole samples (stochastic depth). Nothing is stored, and the op is its own gradient.
#include "cuda/kernels/dropout.cuh"

#include "cuda/element.h"
#include "cuda/kernel.h"
#include "cuda/pass.h"
#include "ops/op_list.h"

namespace kw::cuda {
namespace {

std::unique_ptr<Kernel> prepare_dropout(const Device& gpu, const DropoutStep& step, const KernelContext&) {
  return for_element(step.x, [&]<class T>(std::type_identity<T>) {
    return make_kernel([&gpu, step, count = step.x.elements()](const Memory& memory) {
      constexpr int kCount = device::kPack<T>;
      const T* in = memory.data<T>(step.x);
      T* out = memory.data<T>(step.y);
      const int64_t size = step.width;  // elements that share a draw
      device::Dropout bound{};
      bound.stream = step.stream;
      bound.threshold = step.threshold;
      bound.kept = step.kept;
      bound.seed = memory.data<int32_t>(step.seed);
      bound.step = memory.data<int32_t>(step.step);
      const bool packed = (size == 1 || size % kCount == 0) && starts_packs({in, out});
      const dim3 grid = packs_grid<kCount>(gpu, count, packed);
      if (size == 1) {
        launch(device::drop_elements<T>, grid, kPassThreads, 0, gpu.stream, bound, in, count, packed, out);
      } else {
        launch(device::drop_samples<T>, grid, kPassThreads, 0, gpu.stream, bound, in, count, size, packed, out);
      }
    });
  });
}

}  // namespace

void add_dropout(KernelRegistry& registry, const Device& gpu) { add_kernel(registry, gpu, ops::dropout, prepare_dropout); }

}  // namespace kw::cuda
