// Activations of single elements with their gradients: relu, relu6, gelu, sigmoid. An output may be an input's memory.
#include "cuda/kernels/activation.cuh"

#include "cuda/element.h"
#include "cuda/kernel.h"
#include "cuda/pass.h"
#include "ops/op_list.h"

namespace kw::cuda {
namespace {

template <class Function>
std::unique_ptr<Kernel> prepare_forward(const Device& gpu, const ActivationStep& step, const KernelContext&) {
  return for_element(step.x, [&]<class T>(std::type_identity<T>) {
    return make_kernel([&gpu, step, count = step.y.elements()](const Memory& memory) {
      launch_map<Function>(gpu, memory.data<const T>(step.x), count, memory.data<T>(step.y));
    });
  });
}

template <class Function>
std::unique_ptr<Kernel> prepare_backward(const Device& gpu, const ActivationBackwardStep& step, const KernelContext&) {
  return for_element(step.dy, [&]<class T>(std::type_identity<T>) {
    return make_kernel([&gpu, step, count = step.dx.elements()](const Memory& memory) {
      launch_map_pairs<Function>(gpu, memory.data<const T>(step.dy), memory.data<const T>(step.kept), count, memory.data<T>(step.dx));
    });
  });
}

}  // namespace

void add_activations(KernelRegistry& registry, const Device& gpu) {
  add_kernel(registry, gpu, ops::relu, prepare_forward<device::Relu>);
  add_kernel(registry, gpu, ops::relu_backward, prepare_backward<device::ReluBackward>);
  add_kernel(registry, gpu, ops::relu6, prepare_forward<device::Relu6>);
  add_kernel(registry, gpu, ops::relu6_backward, prepare_backward<device::Relu6Backward>);
  add_kernel(registry, gpu, ops::gelu, prepare_forward<device::Gelu>);
  add_kernel(registry, gpu, ops::gelu_backward, prepare_backward<device::GeluBackward>);
  add_kernel(registry, gpu, ops::sigmoid, prepare_forward<device::Sigmoid>);
  add_kernel(registry, gpu, ops::sigmoid_backward, prepare_backward<device::SigmoidBackward>);
}

}  // namespace kw::cuda
