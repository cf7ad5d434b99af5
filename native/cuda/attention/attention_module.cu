// A layer's attention for inference in two launches: fully connected with normalization and ReLU, then fully connected with the attention
// function.
#include "cuda/kernels/attention_module.cuh"

#include "cuda/attention/attention_rule.h"
#include "cuda/kernel.h"
#include "cuda/lane_grid.h"
#include "cuda/launch.h"
#include "cuda/pass.h"
#include "ops/op_list.h"

namespace kw::cuda {
namespace {

unsigned blocks_for(int64_t count, int64_t size) { return static_cast<unsigned>((count + size - 1) / size); }

std::unique_ptr<Kernel> prepare_attention_module(const Device& gpu, const AttentionModuleStep& step, const KernelContext& context) {
  for (const int64_t size : {step.samples, step.channels, step.hidden}) as_int(context, "samples, channels or hidden values", size);
  const size_t hidden_bytes = static_cast<size_t>((step.hidden_elements + 15) / 16 * 16) * sizeof(float);
  context.reserve_scratch(hidden_bytes + static_cast<size_t>(step.logit_elements) * sizeof(float));
  return make_kernel([&gpu, step, hidden_bytes, rule = PreparedAttentionRule(context, step.rule)](const Memory& memory) {
    if (step.attention.elements() == 0) return;
    const auto vector = [&](const Tensor* tensor) { return tensor ? memory.data<float>(*tensor) : nullptr; };
    const int samples = static_cast<int>(step.samples), width = static_cast<int>(step.hidden);
    const int64_t columns = step.rule.columns;
    const device::AttentionHidden first = {memory.data<float>(step.pooled),
                                           memory.data<float>(step.first_weight),
                                           vector(step.first_bias),
                                           vector(step.scale),
                                           vector(step.shift),
                                           vector(step.mean),
                                           vector(step.variance),
                                           step.norm_epsilon,
                                           samples,
                                           static_cast<int>(step.channels),
                                           width,
                                           reinterpret_cast<float*>(memory.scratch())};
    const unsigned sample_blocks = blocks_for(samples, device::kModuleSamples);
    const auto hidden =
        step.channels % 4 == 0 && starts_packs({first.pooled, first.weight}) ? device::attention_hidden<4> : device::attention_hidden<1>;
    launch(hidden, dim3(blocks_for(width, device::kModuleThreads / device::kWarpSize), sample_blocks), device::kModuleThreads, 0,
           gpu.stream, first);
    if (step.scale && !step.mean) {
      const LaneGrid grid(samples, device::kWarpSize, 1);
      launch(device::normalize_attention_hidden, grid.blocks(), device::kModuleThreads, 0, gpu.stream, first);
    }
    const int mixtures_of_block = static_cast<int>(std::max<int64_t>(1, device::kModuleThreads / columns));
    const device::AttentionLogits second = {first.hidden,
                                            memory.data<float>(step.second_weight),
                                            memory.data<float>(step.second_bias),
                                            samples,
                                            width,
                                            mixtures_of_block,
                                            LaneGrid(1, columns, 1).lanes,
                                            rule.at(memory),
                                            reinterpret_cast<float*>(memory.scratch() + hidden_bytes),
                                            memory.data<float>(step.attention)};
    const auto attend = width % 4 == 0 && starts_packs({second.weight}) ? device::attention_of_hidden<4> : device::attention_of_hidden<1>;
    launch(attend, dim3(blocks_for(step.rule.mixtures, mixtures_of_block), sample_blocks), device::kModuleThreads, 0, gpu.stream, second);
  });
}

}  // namespace

void add_attention_module(KernelRegistry& registry, const Device& gpu) {
  add_kernel(registry, gpu, ops::attention_module, prepare_attention_module);
}

}  // namespace kw::cuda
