// From logits to attentions, and the gradient.
#include "cuda/kernels/attention_function.cuh"

#include "cuda/attention/attention_rule.h"
#include "cuda/kernel.h"
#include "cuda/lane_grid.h"
#include "cuda/launch.h"
#include "ops/op_list.h"

namespace kw::cuda {
namespace {

std::unique_ptr<Kernel> prepare_attention_function(const Device& gpu, const AttentionFunctionStep& step, const KernelContext& context) {
  const LaneGrid grid(as_int(context, "rows of logits", step.rows), step.rule.columns, 1);
  return make_kernel([&gpu, step, grid, rule = PreparedAttentionRule(context, step.rule)](const Memory& memory) {
    if (step.rows == 0) return;
    launch(device::attention_function, grid.blocks(), device::kGroupThreads, 0, gpu.stream, memory.data<float>(step.logits),
           rule.at(memory), step.rows, grid.lanes, memory.data<float>(step.attention));
  });
}

std::unique_ptr<Kernel> prepare_attention_function_backward(const Device& gpu, const AttentionFunctionBackwardStep& step,
                                                            const KernelContext& context) {
  const LaneGrid grid(as_int(context, "rows of logits", step.rows), step.rule.columns, 1);
  return make_kernel([&gpu, step, grid, rule = PreparedAttentionRule(context, step.rule)](const Memory& memory) {
    if (step.rows == 0) return;
    launch(device::attention_function_backward, grid.blocks(), device::kGroupThreads, 0, gpu.stream, memory.data<float>(step.dattention),
           memory.data<float>(step.logits), rule.at(memory), step.rows, grid.lanes, memory.data<float>(step.dlogits));
  });
}

}  // namespace

void add_attention_function(KernelRegistry& registry, const Device& gpu) {
  add_kernel(registry, gpu, ops::attention_function, prepare_attention_function);
  add_kernel(registry, gpu, ops::attention_function_backward, prepare_attention_function_backward);
}

}  // namespace kw::cuda
