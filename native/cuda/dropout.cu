// Dropout of elements, or of whole samples (stochastic depth). Nothing is stored, and the op is its own gradient.
#include "cuda/kernels/dropout.cuh"

#include <cmath>

#include "cuda/element.h"
#include "cuda/kernel.h"
#include "cuda/pass.h"

namespace kw::cuda {
namespace {

std::unique_ptr<Kernel> prepare_dropout(const Device& gpu, const StepContext& context) {
  const Tensor &x = context.input(0), &seed = context.input(1), &step = context.input(2), &y = context.output(0);
  expect_shape(context, "seed", seed, {}, DataType::int32);
  expect_shape(context, "step", step, {}, DataType::int32);
  expect_shape(context, "y", y, x.shape, x.type);
  const double probability = context.number("probability");
  if (!(probability >= 0 && probability < 1)) context.fail("expected probability in [0, 1) but received " + std::to_string(probability));
  const bool per_sample = context.boolean("perSample");
  if (per_sample && x.shape.empty()) context.fail("expected x with a sample axis but received a scalar");
  device::Dropout dropout{};
  dropout.stream = static_cast<uint32_t>(context.integer("stream"));
  dropout.threshold = static_cast<uint64_t>(std::ceil(probability * 4294967296.0));
  dropout.kept = static_cast<float>(1 / (1 - probability));
  const int64_t count = x.elements(), size = per_sample && count > 0 ? count / x.shape[0] : 1;  // elements that share a draw
  return for_element(context, "x", x, [&]<class T>(std::type_identity<T>) {
    return make_kernel([&gpu, &x, &seed, &step, &y, dropout, count, size](const Memory& memory) {
      constexpr int kCount = device::kPack<T>;
      const T* in = memory.data<T>(x);
      T* out = memory.data<T>(y);
      device::Dropout bound = dropout;
      bound.seed = memory.data<int32_t>(seed);
      bound.step = memory.data<int32_t>(step);
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

void add_dropout(KernelRegistry& ops, const Device& gpu) {
  ops.add("dropout", [&gpu](const StepContext& context) { return prepare_dropout(gpu, context); });
}

}  // namespace kw::cuda
