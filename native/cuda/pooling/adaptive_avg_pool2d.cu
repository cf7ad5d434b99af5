// Mean over a grid of windows that cover the image, channels-last, with its gradient.
#include "cuda/kernels/adaptive_avg_pool2d.cuh"

#include "cuda/element.h"
#include "cuda/kernel.h"
#include "cuda/pass.h"
#include "ops/op_list.h"

namespace kw::cuda {
namespace {

device::AdaptiveShape shape_of(const AdaptiveWindows& windows) {
  device::AdaptiveShape shape{};
  for (int axis = 0; axis < 2; ++axis) {
    shape.image[axis] = static_cast<int>(windows.image[axis]);
    shape.grid[axis] = static_cast<int>(windows.grid[axis]);
  }
  shape.channels = windows.channels;
  return shape;
}

// Refuses what shape_of and the number of blocks could not hold.
void refuse_large(const KernelContext& context, const AdaptiveWindows& windows) {
  for (int axis = 0; axis < 2; ++axis) {
    as_int(context, "pixels along an axis", windows.image[axis]);
    as_int(context, "windows along an axis", windows.grid[axis]);
  }
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

std::unique_ptr<Kernel> prepare_adaptive_avg_pool2d(const Device& gpu, const AdaptiveAvgPool2dStep& step, const KernelContext& context) {
  refuse_large(context, step.windows);
  as_int(context, "means", step.y.elements());
  return for_element(step.x, [&]<class T>(std::type_identity<T>) {
    return make_kernel([&gpu, step](const Memory& memory) {
      const AdaptiveWindows& windows = step.windows;
      const T* in = memory.data<T>(step.x);
      float* out = memory.data<float>(step.y);
      if (windows.channels % device::kPack<T> == 0 && starts_packs({in})) {
        launch_means<T, device::kPack<T>>(gpu, in, windows, out);
      } else {
        launch_means<T, 1>(gpu, in, windows, out);
      }
    });
  });
}

std::unique_ptr<Kernel> prepare_adaptive_avg_pool2d_backward(const Device& gpu, const AdaptiveAvgPool2dBackwardStep& step,
                                                             const KernelContext& context) {
  refuse_large(context, step.windows);
  return for_element(step.dx, [&]<class T>(std::type_identity<T>) {
    return make_kernel([&gpu, step, shape = shape_of(step.windows), count = step.dx.elements()](const Memory& memory) {
      const float* gradient = memory.data<float>(step.dy);
      T* out = memory.data<T>(step.dx);
      const bool packed = shape.channels % device::kPack<T> == 0 && starts_packs({gradient, out});
      launch(device::adaptive_avg_pool_backward<T>, packs_grid<device::kPack<T>>(gpu, count, packed), kPassThreads, 0, gpu.stream, gradient,
             shape, count, packed, out);
    });
  });
}

}  // namespace

void add_adaptive_avg_pool2d(KernelRegistry& registry, const Device& gpu) {
  add_kernel(registry, gpu, ops::adaptive_avg_pool2d, prepare_adaptive_avg_pool2d);
  add_kernel(registry, gpu, ops::adaptive_avg_pool2d_backward, prepare_adaptive_avg_pool2d_backward);
}

}  // namespace kw::cuda
