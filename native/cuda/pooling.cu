// Global average pooling and 2-D max pooling, channels-last, with gradients.
#include "cuda/kernels/pooling.cuh"

#include <limits>
#include <optional>

#include "cuda/axis_sums.h"
#include "cuda/check.h"
#include "cuda/element.h"
#include "cuda/kernel.h"
#include "cuda/pass.h"

namespace kw::cuda {
namespace {

struct PooledShape {
  int64_t samples;
  int64_t positions;  // what the mean is taken over
  int64_t channels;
};

PooledShape check_pooled(const StepContext& context, const Tensor& wide, const char* wide_name, const Tensor& pooled, const char* name) {
  const Matrix matrix = as_matrix(context, wide_name, wide, wide.type);
  if (wide.shape.size() < 2)
    context.fail(std::string("expected ") + wide_name + " of shape [N, ..., C] but received " + describe(wide.shape));
  const int64_t samples = wide.shape[0];
  expect_shape(context, name, pooled, {samples, matrix.channels});
  return {samples, matrix.rows / samples, matrix.channels};
}

std::unique_ptr<Kernel> prepare_global_avg_pool(const Device& gpu, const StepContext& context) {
  const Tensor &x = context.input(0), &y = context.output(0);
  const PooledShape shape = check_pooled(context, x, "x", y, "y");
  const AxisSums sums(context, joined_axes({shape.samples, shape.positions, shape.channels}, {true, false, true}),
                      static_cast<double>(shape.positions));
  return for_element(context, "x", x, [&]<class T>(std::type_identity<T>) {
    return make_kernel([&gpu, &x, &y, sums](const Memory& memory) {
      const T* in = memory.data<T>(x);
      sums.launch_sums(gpu, device::Values<T>{in}, {in}, memory.scratch(), memory.data<float>(y));
    });
  });
}

std::unique_ptr<Kernel> prepare_global_avg_pool_backward(const Device& gpu, const StepContext& context) {
  const Tensor &dy = context.input(0), &dx = context.output(0);
  expect_shape(context, "dx", dx, context.integers("inputShape"), dx.type);
  const Tensor* accumulator = context.has_input(1) ? &context.input(1) : nullptr;
  if (accumulator) expect_shape(context, "accumulator", *accumulator, dx.shape, dx.type);
  const PooledShape shape = check_pooled(context, dx, "dx", dy, "dy");
  return for_element(context, "dx", dx, [&]<class T>(std::type_identity<T>) {
    return make_kernel([&gpu, &dy, &dx, accumulator, shape, count = dx.elements()](const Memory& memory) {
      const float* gradient = memory.data<float>(dy);
      const T* added = accumulator ? memory.data<T>(*accumulator) : nullptr;
      T* out = memory.data<T>(dx);
      const bool packed = shape.channels % device::kPack<T> == 0 && starts_packs({gradient, added, out});
      launch(device::spread_mean<T>, packs_grid<device::kPack<T>>(gpu, count, packed), kPassThreads, 0, gpu.stream, gradient,
             1.0f / static_cast<float>(shape.positions), added, count, shape.positions, shape.channels, packed, out);
    });
  });
}

// The windows of a max_pool2d step on images of height `size[0]`, width `size[1]`. Throws invalid_plan where they do not fit.
device::PoolShape pool_shape(const StepContext& context, const std::vector<int64_t>& x) {
  const std::vector<int64_t> kernel = context.integers("kernel"), stride = context.integers("stride"),
                             padding = context.integers("padding");
  if (kernel.size() != 2 || stride.size() != 2 || padding.size() != 2) context.fail("expected kernel, stride and padding of two integers");
  device::PoolShape shape{};
  for (size_t axis = 0; axis < 2; ++axis) {
    const int64_t size = x[axis + 1];
    if (kernel[axis] < 1 || stride[axis] < 1 || padding[axis] < 0 || padding[axis] * 2 > kernel[axis] ||
        size + 2 * padding[axis] < kernel[axis]) {
      context.fail(
          "expected kernel >= 1, stride >= 1, 0 <= padding <= kernel / 2 and a padded x no smaller than the kernel, but received kernel " +
          describe(kernel) + ", stride " + describe(stride) + ", padding " + describe(padding) + ", x " + describe(x));
    }
    shape.size[axis] = static_cast<int>(size);
    shape.out_size[axis] = static_cast<int>((size + 2 * padding[axis] - kernel[axis]) / stride[axis] + 1);
    shape.kernel[axis] = static_cast<int>(kernel[axis]);
    shape.stride[axis] = static_cast<int>(stride[axis]);
    shape.padding[axis] = static_cast<int>(padding[axis]);
  }
  if (x[1] * x[2] > std::numeric_limits<int32_t>::max()) context.fail("x is too large for int32 indices: " + describe(x));
  shape.channels = x[3];
  return shape;
}

std::unique_ptr<Kernel> prepare_max_pool2d(const Device& gpu, const StepContext& context) {
  const Tensor &x = context.input(0), &y = context.output(0), &indices = context.output(1);
  expect_rank(context, "x", x, 4, x.type);
  const device::PoolShape shape = pool_shape(context, x.shape);
  const std::vector<int64_t> out_shape = {x.shape[0], shape.out_size[0], shape.out_size[1], x.shape[3]};
  expect_shape(context, "y", y, out_shape, x.type);
  expect_shape(context, "indices", indices, out_shape, DataType::int32);
  return for_element(context, "x", x, [&]<class T>(std::type_identity<T>) {
    return make_kernel([&gpu, &x, &y, &indices, shape, count = y.elements()](const Memory& memory) {
      const T* in = memory.data<T>(x);
      T* out = memory.data<T>(y);
      int32_t* positions = memory.data<int32_t>(indices);
      const bool packed = shape.channels % device::kPack<T> == 0 && starts_packs({in, out, positions});
      launch(device::max_pool<T>, packs_grid<device::kPack<T>>(gpu, count, packed), kPassThreads, 0, gpu.stream, in, shape, count, packed,
             out, positions);
    });
  });
}

// The windows that the indices of a max_pool2d_backward step come from: those of the step before it that made them. The op itself only
// knows indices, with which every thread would have to look through all of them. None where they come from outside of the program.
std::optional<device::PoolShape> windows_of_indices(const StepContext& context, const std::vector<int64_t>& x) {
  const int indices = context.step.inputs[1];
  for (const Step& step : context.plan.steps) {
    if (&step == &context.step) break;
    if (step.op != "max_pool2d" || step.outputs.size() < 2 || step.outputs[1] != indices) continue;
    return pool_shape(StepContext(context.plan, step, context.threads, context.resources), x);
  }
  return std::nullopt;
}

std::unique_ptr<Kernel> prepare_max_pool2d_backward(const Device& gpu, const StepContext& context) {
  const Tensor &dy = context.input(0), &indices = context.input(1), &dx = context.output(0);
  expect_rank(context, "dy", dy, 4, dy.type);
  expect_shape(context, "indices", indices, dy.shape, DataType::int32);
  const std::vector<int64_t> input_size = context.integers("inputSize");
  if (input_size.size() != 2) context.fail("expected inputSize of two integers but received " + describe(input_size));
  expect_shape(context, "dx", dx, {dy.shape[0], input_size[0], input_size[1], dy.shape[3]}, dy.type);
  const std::optional<device::PoolShape> windows = windows_of_indices(context, dx.shape);
  return for_element(context, "dy", dy, [&]<class T>(std::type_identity<T>) -> std::unique_ptr<Kernel> {
    if (windows) {
      return make_kernel([&gpu, &dy, &indices, &dx, shape = *windows, count = dx.elements()](const Memory& memory) {
        const T* gradient = memory.data<T>(dy);
        const int32_t* positions = memory.data<int32_t>(indices);
        T* out = memory.data<T>(dx);
        const bool packed = shape.channels % device::kPack<T> == 0 && starts_packs({gradient, positions, out});
        launch(device::max_pool_backward<T>, packs_grid<device::kPack<T>>(gpu, count, packed), kPassThreads, 0, gpu.stream, gradient,
               positions, shape, count, packed, out);
      });
    }
    return make_kernel([&gpu, &dy, &indices, &dx](const Memory& memory) {
      const int64_t samples = dy.shape[0], channels = dy.shape[3];
      T* out = memory.data<T>(dx);
      if (dx.bytes() > 0) check(cudaMemsetAsync(out, 0, static_cast<size_t>(dx.bytes()), gpu.stream), "zeroing the gradient of max_pool2d");
      launch(device::scatter_gradient<T>, pass_grid(gpu, samples * channels), kPassThreads, 0, gpu.stream, memory.data<T>(dy),
             memory.data<int32_t>(indices), samples, dy.shape[1] * dy.shape[2], dx.shape[1] * dx.shape[2], channels, out);
    });
  });
}

}  // namespace

void add_pooling(KernelRegistry& ops, const Device& gpu) {
  ops.add("global_avg_pool", [&gpu](const StepContext& context) { return prepare_global_avg_pool(gpu, context); });
  ops.add("global_avg_pool_backward", [&gpu](const StepContext& context) { return prepare_global_avg_pool_backward(gpu, context); });
  ops.add("max_pool2d", [&gpu](const StepContext& context) { return prepare_max_pool2d(gpu, context); });
  ops.add("max_pool2d_backward", [&gpu](const StepContext& context) { return prepare_max_pool2d_backward(gpu, context); });
}

}  // namespace kw::cuda
