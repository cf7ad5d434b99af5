// The CPU backend, and its kernels: each family adds its ops to the registry through one of these functions.
#pragma once

#include <memory>
#include <string>

#include "runtime/backend.h"

namespace kw::cpu {

const KernelRegistry& registry();  // all of the below
// The instruction sets that kernels are chosen by, as JSON: {"kernels": this package's (processor.h), "oneDnn": oneDNN's name for its own}.
std::string report();

// `threads` 0: default_threads(). Throws invalid_argument when threads are out of range. `kernels` outlives the backend.
std::shared_ptr<Backend> open_backend(int threads, const KernelRegistry& kernels = registry());

void add_activations(KernelRegistry&);             // activation.cc: relu, relu6, gelu, sigmoid
void add_adaptive_avg_pool2d(KernelRegistry&);     // adaptive_avg_pool2d.cc
void add_attention_function(KernelRegistry&);      // attention_function.cc
void add_attention_module(KernelRegistry&);        // attention_module.cc
void add_batch_norm(KernelRegistry&);              // batch_norm.cc
void add_convolution(KernelRegistry&);             // static_convolution.cc, oneDNN
void add_cross_entropy(KernelRegistry&);           // cross_entropy.cc
void add_dropout(KernelRegistry&);                 // dropout.cc
void add_elementwise(KernelRegistry&);             // elementwise.cc: add, add_bias, cast, fill, copy, slice, concat
void add_layer_norm(KernelRegistry&);              // layer_norm.cc
void add_matmul(KernelRegistry&);                  // matmul.cc, oneDNN
void add_mix_cells(KernelRegistry&);               // mix_cells.cc
void add_mixed_convolution(KernelRegistry&);       // mixed_conv2d.cc
void add_multiply(KernelRegistry&);                // multiply.cc
void add_optimizers(KernelRegistry&);              // optimizers.cc: sgd, adamw, moving_average
void add_pooling(KernelRegistry&);                 // pooling.cc
void add_reductions(KernelRegistry&);              // reductions.cc: sum_rows, sum_of_squares
void add_samplewise_convolution(KernelRegistry&);  // samplewise_convolution.cc
void add_self_attention(KernelRegistry&);          // self_attention.cc, oneDNN
void add_transpose(KernelRegistry&);               // transpose.cc

}  // namespace kw::cpu
