// Activations of single elements with their gradients: relu, relu6, gelu, sigmoid. An output may be an input's memory.
#include "cuda/kernels/activation.cuh"

#include "cuda/element.h"
#include "cuda/kernel.h"
#include "cuda/pass.h"

namespace kw::cuda {
namespace {

template <class Function>
std::unique_ptr<Kernel> prepare_forward(const Device& gpu, const StepContext& context) {
  const Tensor &x = context.input(0), &y = context.output(0);
  expect_shape(context, "y", y, x.shape, x.type);
  return for_element(context, "x", x, [&]<class T>(std::type_identity<T>) {
    return make_kernel([&gpu, &x, &y, count = y.elements()](const Memory& memory) {
      launch_map<Function>(gpu, memory.data<const T>(x), count, memory.data<T>(y));
    });
  });
}

// `kept_name` is what the forward op kept: its input or its output.
template <class Function>
std::unique_ptr<Kernel> prepare_backward(const Device& gpu, const StepContext& context, const char* kept_name) {
  const Tensor &dy = context.input(0), &kept = context.input(1), &dx = context.output(0);
  expect_shape(context, kept_name, kept, dy.shape, dy.type);
  expect_shape(context, "dx", dx, dy.shape, dy.type);
  return for_element(context, "dy", dy, [&]<class T>(std::type_identity<T>) {
    return make_kernel([&gpu, &dy, &kept, &dx, count = dx.elements()](const Memory& memory) {
      launch_map_pairs<Function>(gpu, memory.data<const T>(dy), memory.data<const T>(kept), count, memory.data<T>(dx));
    });
  });
}

template <class Function, class BackwardFunction>
void add_activation(KernelRegistry& ops, const Device& gpu, const std::string& name, const char* kept_name) {
  ops.add(name, [&gpu](const StepContext& context) { return prepare_forward<Function>(gpu, context); });
  ops.add(name + "_backward",
          [&gpu, kept_name](const StepContext& context) { return prepare_backward<BackwardFunction>(gpu, context, kept_name); });
}

}  // namespace

void add_activations(KernelRegistry& ops, const Device& gpu) {
  add_activation<device::Relu, device::ReluBackward>(ops, gpu, "relu", "y");
  add_activation<device::Relu6, device::Relu6Backward>(ops, gpu, "relu6", "y");
  add_activation<device::Gelu, device::GeluBackward>(ops, gpu, "gelu", "x");
  add_activation<device::Sigmoid, device::SigmoidBackward>(ops, gpu, "sigmoid", "y");
}

}  // namespace kw::cuda
