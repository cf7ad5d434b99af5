// The CUDA backend's kernels. Each .cu file of this folder adds its ops to the registry through one of these functions; the device code
// is in kernels/*.cuh.
#pragma once

#include "cuda/device.h"
#include "runtime/backend.h"
#include "runtime/kernel_checks.h"

namespace kw::cuda {

void add_activations(KernelRegistry&, const Device&);  // activation.cu: relu, relu6, gelu, sigmoid
void add_elementwise(KernelRegistry&, const Device&);  // elementwise.cu: add, add_bias, cast, fill, copy, slice, concat

}  // namespace kw::cuda
