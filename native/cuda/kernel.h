// The CUDA backend's kernels. Each .cu file of this folder adds its ops to the registry through one of these functions; the device code
// is in kernels/*.cuh.
#pragma once

#include "cuda/device.h"
#include "runtime/backend.h"
#include "runtime/kernel_checks.h"

namespace kw::cuda {

void add_activations(KernelRegistry&, const Device&);         // activation.cu: relu, relu6, gelu, sigmoid
void add_attention_function(KernelRegistry&, const Device&);  // attention_function.cu
void add_attention_module(KernelRegistry&, const Device&);    // attention_module.cu
void add_batch_norm(KernelRegistry&, const Device&);          // batch_norm.cu, batch_norm_backward.cu
void add_elementwise(KernelRegistry&, const Device&);         // elementwise.cu: add, add_bias, cast, fill, copy, slice, concat
void add_layer_norm(KernelRegistry&, const Device&);          // layer_norm.cu
void add_matmul(KernelRegistry&, const Device&);              // matmul.cu
void add_self_attention(KernelRegistry&, const Device&);      // self_attention.cu

}  // namespace kw::cuda
