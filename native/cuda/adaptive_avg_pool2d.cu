// Mean over a grid of windows that cover the image, channels-last, with its gradient.
#include "cuda/kernels/adaptive_avg_pool2d.cuh"

#include "cuda/element.h"
#include "cuda/kernel.h"
#include "cuda/pass.h"
#include "runtime/adaptive_windows.h"

namespace kw::cuda {
namespace {

device::AdaptiveShape shape_of(const AdaptiveWindows& windows) {
  const auto pair = [](const int64_t (&sizes)[2], int (&ints)[2]) {
    ints[0] = static_cast<int>(sizes[0]), ints[1] = static_cast<int>(sizes[1]);
  };
  device::AdaptiveShape shape{};
  pair(windows.image, shape.image);
  pair(windows.grid, shape.grid);
  shape.channels = windows.channels;
  return shape;
}

// Queues the means, each thread having `kCount` channels.
template <class T, int kCount>
void launch_means(const Device& gpu, const T* x, const AdaptiveWindows& windows, float* y) {
  const int64_t packs = whole_parts(windows.channels, kCount);
  int lanes = 1;
  while (lanes < packs && lanes < device::kWarpSize) lanes *= 2;
  const int64_t blocks = windows.samples * windows.grid[0] * windows.grid[1] * whole_parts(packs, lanes);
  launch(device::adaptive_avg_pool<T, kCount>, dim3(static_cast<unsigned>(blocks)), device::kWindowThreads, 0, gpu.stream, x,
         shape_of(windows), lanes, y);
}

std::unique_ptr<Kernel> prepare_adaptive_avg_pool2d(const Device& gpu, const StepContext& context) {
  const Tensor &x = context.input(0), &y = context.output(0);
  const AdaptiveWindows windows = adaptive_windows(context, x, y);
  return for_element(context, "x", x, [&]<class T>(std::type_identity<T>) {
    return make_kernel([&gpu, &x, &y, windows](const Memory& memory) {
      const T* in = memory.data<T>(x);
      float* out = memory.data<float>(y);
      if (windows.channels % device::kPack<T> == 0 && starts_packs({in})) {
        launch_means<T, device::kPack<T>>(gpu, in, windows, out);
      } else {
        launch_means<T, 1>(gpu, in, windows, out);
      }
    });
  });
}

std::unique_ptr<Kernel> prepare_adaptive_avg_pool2d_backward(const Device& gpu, const StepContext& context) {
  const Tensor &dy = context.input(0), &dx = context.output(0);
  const AdaptiveWindows windows = adaptive_windows(context, dx, dy);
  return for_element(context, "dx", dx, [&]<class T>(std::type_identity<T>) {
    return make_kernel([&gpu, &dy, &dx, shape = shape_of(windows), count = dx.elements()](const Memory& memory) {
      const float* gradient = memory.data<float>(dy);
      T* out = memory.data<T>(dx);
      const bool packed = shape.channels % device::kPack<T> == 0 && starts_packs({gradient, out});
      launch(device::adaptive_avg_pool_backward<T>, packs_grid<device::kPack<T>>(gpu, count, packed), kPassThreads, 0, gpu.stream, gradient,
             shape, count, packed, out);
    });
  });
}

}  // namespace

void add_adaptive_avg_pool2d(KernelRegistry& ops, const Device& gpu) {
  ops.add("adaptive_avg_pool2d", [&gpu](const StepContext& context) { return prepare_adaptive_avg_pool2d(gpu, context); });
  ops.add("adaptive_avg_pool2d_backward",
          [&gpu](const StepContext& context) { return prepare_adaptive_avg_pool2d_backward(gpu, context); });
}

}  // namespace kw::cuda
