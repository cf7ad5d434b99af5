#include "cpu/cpu_backend.h"

#include "cpu/onednn.h"
#include "cpu/processor.h"

namespace kw::cpu {

const KernelRegistry& registry() {
  static const KernelRegistry instance = [] {
    instruction_set();  // before anything is asked of oneDNN
    KernelRegistry ops;
    add_activations(ops);
    add_adaptive_avg_pool2d(ops);
    add_attention_function(ops);
    add_attention_module(ops);
    add_batch_norm(ops);
    add_convolution(ops);
    add_cross_entropy(ops);
    add_dropout(ops);
    add_elementwise(ops);
    add_layer_norm(ops);
    add_matmul(ops);
    add_mix_cells(ops);
    add_mixed_convolution(ops);
    add_multiply(ops);
    add_optimizers(ops);
    add_pooling(ops);
    add_reductions(ops);
    add_samplewise_convolution(ops);
    add_self_attention(ops);
    add_transpose(ops);
    return ops;
  }();
  return instance;
}

std::string report() {
  const std::string kernels = name_of(instruction_set());  // first: it may limit oneDNN
  return R"({"kernels": ")" + kernels + R"(", "oneDnn": ")" + onednn_instruction_set_name() + "\"}";
}

}  // namespace kw::cpu
