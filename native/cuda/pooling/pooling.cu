// Global average pooling and 2-D max pooling, channels-last, with gradients.
#include "cuda/kernels/pooling.cuh"

#include "cuda/check.h"
#include "cuda/element.h"
#include "cuda/kernel.h"
#include "cuda/pass.h"
#include "cuda/reductions/axis_sums.h"
#include "ops/op_list.h"

namespace kw::cuda {
namespace {

std::unique_ptr<Kernel> prepare_global_avg_pool(const Device& gpu, const GlobalAvgPoolStep& step, const KernelContext& context) {
  const PooledShape shape = step.shape;
  const AxisSums sums(context, joined_axes({shape.samples, shape.positions, shape.channels}, {true, false, true}),
                      static_cast<double>(shape.positions));
  return for_element(step.x, [&]<class T>(std::type_identity<T>) {
    return make_kernel([&gpu, step, sums](const Memory& memory) {
      const T* in = memory.data<T>(step.x);
      sums.launch_sums(gpu, device::Values<T>{in}, {in}, memory.scratch(), memory.data<float>(step.y));
    });
  });
}

std::unique_ptr<Kernel> prepare_global_avg_pool_backward(const Device& gpu, const GlobalAvgPoolBackwardStep& step, const KernelContext&) {
  return for_element(step.dx, [&]<class T>(std::type_identity<T>) {
    return make_kernel([&gpu, step, shape = step.shape, count = step.dx.elements()](const Memory& memory) {
      const float* gradient = memory.data<float>(step.dy);
      const T* added = step.accumulator ? memory.data<T>(*step.accumulator) : nullptr;
      T* out = memory.data<T>(step.dx);
      const bool packed = shape.channels % device::kPack<T> == 0 && starts_packs({gradient, added, out});
      launch(device::spread_mean<T>, packs_grid<device::kPack<T>>(gpu, count, packed), kPassThreads, 0, gpu.stream, gradient,
             1.0f / static_cast<float>(shape.positions), added, count, shape.positions, shape.channels, packed, out);
    });
  });
}

device::PoolShape pool_shape(const KernelContext& context, const PoolWindows& windows) {
  device::PoolShape shape{};
  for (int axis = 0; axis < 2; ++axis) {
    shape.size[axis] = as_int(context, "pixels along an axis", windows.size[axis]);
    shape.out_size[axis] = as_int(context, "windows along an axis", windows.out_size[axis]);
    shape.kernel[axis] = as_int(context, "pixels along an axis of the kernel", windows.kernel[axis]);
    shape.stride[axis] = as_int(context, "pixels of a stride", windows.stride[axis]);
    shape.padding[axis] = as_int(context, "pixels of padding", windows.padding[axis]);
  }
  shape.channels = windows.channels;
  return shape;
}

std::unique_ptr<Kernel> prepare_max_pool2d(const Device& gpu, const MaxPool2dStep& step, const KernelContext& context) {
  return for_element(step.x, [&]<class T>(std::type_identity<T>) {
    return make_kernel([&gpu, step, shape = pool_shape(context, step.windows), count = step.y.elements()](const Memory& memory) {
      const T* in = memory.data<T>(step.x);
      T* out = memory.data<T>(step.y);
      int32_t* positions = memory.data<int32_t>(step.indices);
      const bool packed = shape.channels % device::kPack<T> == 0 && starts_packs({in, out, positions});
      launch(device::max_pool<T>, packs_grid<device::kPack<T>>(gpu, count, packed), kPassThreads, 0, gpu.stream, in, shape, count, packed,
             out, positions);
    });
  });
}

// The op itself only knows indices, with which every thread would have to look through all of them; with the windows it does not.
std::unique_ptr<Kernel> prepare_max_pool2d_backward(const Device& gpu, const MaxPool2dBackwardStep& step, const KernelContext& context) {
  return for_element(step.dy, [&]<class T>(std::type_identity<T>) -> std::unique_ptr<Kernel> {
    if (step.windows) {
      return make_kernel([&gpu, step, shape = pool_shape(context, *step.windows), count = step.dx.elements()](const Memory& memory) {
        const T* gradient = memory.data<T>(step.dy);
        const int32_t* positions = memory.data<int32_t>(step.indices);
        T* out = memory.data<T>(step.dx);
        const bool packed = shape.channels % device::kPack<T> == 0 && starts_packs({gradient, positions, out});
        launch(device::max_pool_backward<T>, packs_grid<device::kPack<T>>(gpu, count, packed), kPassThreads, 0, gpu.stream, gradient,
               positions, shape, count, packed, out);
      });
    }
    return make_kernel([&gpu, step](const Memory& memory) {
      T* out = memory.data<T>(step.dx);
      check(cudaMemsetAsync(out, 0, static_cast<size_t>(step.dx.bytes()), gpu.stream), "zeroing the gradient of max_pool2d");
      launch(device::scatter_gradient<T>, pass_grid(gpu, step.samples * step.channels), kPassThreads, 0, gpu.stream,
             memory.data<T>(step.dy), memory.data<int32_t>(step.indices), step.samples, step.out_pixels, step.in_pixels, step.channels,
             out);
    });
  });
}

}  // namespace

void add_pooling(KernelRegistry& registry, const Device& gpu) {
  add_kernel(registry, gpu, ops::global_avg_pool, prepare_global_avg_pool);
  add_kernel(registry, gpu, ops::global_avg_pool_backward, prepare_global_avg_pool_backward);
  add_kernel(registry, gpu, ops::max_pool2d, prepare_max_pool2d);
  add_kernel(registry, gpu, ops::max_pool2d_backward, prepare_max_pool2d_backward);
}

}  // namespace kw::cuda
