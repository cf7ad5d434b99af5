// The CUDA backend's kernels. Each .cu file of this folder adds its ops to the registry through one of these functions; the device code
// is in kernels/*.cuh.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <string>

#include "cuda/device.h"
#include "ops/op.h"
#include "runtime/backend.h"

namespace kw::cuda {

// Adds prepare(gpu, step, context) to the kernels of a GPU.
template <class Step>
void add_kernel(KernelRegistry& registry, const Device& gpu, Op<Step> op,
                std::unique_ptr<Kernel> (*prepare)(const Device&, const Step&, const KernelContext&)) {
  kw::add_kernel(registry, op, [&gpu, prepare](const Step& step, const KernelContext& context) { return prepare(gpu, step, context); });
}

// Sizes that kernels take as 32-bit numbers, or as a number of blocks. Refuses larger ones (unsupported).
inline int as_int(const KernelContext& context, const char* name, int64_t size) {
  if (size > std::numeric_limits<int>::max()) {
    context.unsupported("a GPU takes at most " + std::to_string(std::numeric_limits<int>::max()) + " " + name + " but received " +
                        std::to_string(size));
  }
  return static_cast<int>(size);
}

void add_activations(KernelRegistry&, const Device&);          // activation.cu: relu, relu6, gelu, sigmoid
void add_adaptive_avg_pool2d(KernelRegistry&, const Device&);  // adaptive_avg_pool2d.cu
void add_attention_function(KernelRegistry&, const Device&);   // attention_function.cu
void add_attention_module(KernelRegistry&, const Device&);     // attention_module.cu
void add_batch_norm(KernelRegistry&, const Device&);           // batch_norm.cu, batch_norm_backward.cu
void add_convolution(KernelRegistry&, const Device&);          // static_convolution.cu: conv2d, conv3d, their gradients, normalized_conv2d
void add_cross_entropy(KernelRegistry&, const Device&);        // cross_entropy.cu
void add_dropout(KernelRegistry&, const Device&);              // dropout.cu
void add_elementwise(KernelRegistry&, const Device&);          // elementwise.cu: add, add_bias, cast, fill, copy, slice, concat
void add_layer_norm(KernelRegistry&, const Device&);           // layer_norm.cu
void add_matmul(KernelRegistry&, const Device&);               // matmul.cu
void add_mix_cells(KernelRegistry&, const Device&);            // mix_cells.cu: mix_cells and its gradients
void add_mixed_convolution(KernelRegistry&, const Device&);    // mixed_conv2d.cu: mixed_conv2d, its gradients, normalized_mixed_conv2d
void add_multiply(KernelRegistry&, const Device&);             // multiply.cu
void add_optimizers(KernelRegistry&, const Device&);           // optimizers.cu: sgd, adamw, moving_average
void add_pooling(KernelRegistry&, const Device&);              // pooling.cu
void add_reductions(KernelRegistry&, const Device&);           // reductions.cu: sum_rows, sum_of_squares
void add_samplewise_convolution(KernelRegistry&, const Device&);  // samplewise_conv2d, samplewise_conv3d, their gradients
void add_self_attention(KernelRegistry&, const Device&);          // self_attention.cu
void add_transpose(KernelRegistry&, const Device&);               // transpose.cu

}  // namespace kw::cuda
