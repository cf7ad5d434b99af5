// Multi-head self-attention and its gradient.
#include "cuda/kernels/self_attention.cuh"

#include <algorithm>

#include "cuda/kernel.h"
#include "cuda/lane_grid.h"
#include "cuda/launch.h"
#include "cuda/pass.h"
#include "ops/op_list.h"

namespace kw::cuda {
namespace {

device::AttentionHeads device_heads(const Heads& heads, bool packed) {
  return {static_cast<int>(heads.tokens), static_cast<int>(heads.heads), static_cast<int>(heads.width()), heads.scale(),
          packed && heads.width() % 4 == 0};
}

// A block for each head, each tile of tokens, and each chunk of channels.
dim3 blocks_of(const Heads& heads) {
  const auto tiles = [](int64_t size) { return static_cast<unsigned>((size + device::kAttentionTile - 1) / device::kAttentionTile); };
  return dim3(static_cast<unsigned>(heads.count()), tiles(heads.tokens), tiles(heads.width()));
}

// Refuses what kernels would not take.
void refuse_large(const KernelContext& context, const Heads& heads) {
  constexpr int64_t kMostTiles = 65535;  // of a grid
  as_int(context, "heads of all samples", heads.count());
  if (std::max(heads.tokens, heads.width()) > kMostTiles * device::kAttentionTile) {
    context.unsupported("a GPU takes at most " + std::to_string(kMostTiles * device::kAttentionTile) +
                        " tokens and channels of a head but received " + std::to_string(heads.tokens) + " and " +
                        std::to_string(heads.width()));
  }
}

std::unique_ptr<Kernel> prepare_self_attention(const Device& gpu, const SelfAttentionStep& step, const KernelContext& context) {
  refuse_large(context, step.heads);
  return make_kernel([&gpu, step](const Memory& memory) {
    const float *q = memory.data<float>(step.query), *k = memory.data<float>(step.key), *v = memory.data<float>(step.value);
    launch(device::self_attention, blocks_of(step.heads), device::kAttentionThreads, device::kAttentionForwardBytes, gpu.stream, q, k, v,
           device_heads(step.heads, starts_packs({q, k, v})), memory.data<float>(step.y), memory.data<float>(step.log_sum_exp));
  });
}

std::unique_ptr<Kernel> prepare_self_attention_backward(const Device& gpu, const SelfAttentionBackwardStep& step,
                                                        const KernelContext& context) {
  refuse_large(context, step.heads);
  const int64_t rows = as_int(context, "tokens of all heads", step.log_sum_exp.elements());
  context.reserve_scratch(static_cast<size_t>(rows) * sizeof(float));
  return make_kernel([&gpu, step, rows](const Memory& memory) {
    const float *dy = memory.data<float>(step.dy), *q = memory.data<float>(step.query), *k = memory.data<float>(step.key),
                *v = memory.data<float>(step.value);
    const device::AttentionHeads heads = device_heads(step.heads, starts_packs({dy, q, k, v}));
    auto* dots = reinterpret_cast<float*>(memory.scratch());
    const LaneGrid grid(rows, step.heads.width(), 1);
    launch(device::attention_dots, grid.blocks(), device::kGroupThreads, 0, gpu.stream, dy, memory.data<float>(step.y), heads, rows,
           grid.lanes, dots);
    const device::AttentionGradient gradient = {dy,
                                                q,
                                                k,
                                                v,
                                                memory.data<float>(step.log_sum_exp),
                                                dots,
                                                heads,
                                                memory.data<float>(step.dquery),
                                                memory.data<float>(step.dkey),
                                                memory.data<float>(step.dvalue)};
    const dim3 blocks = blocks_of(step.heads);
    launch(device::attention_key_gradient, blocks, device::kAttentionThreads, device::kAttentionBackwardBytes, gpu.stream, gradient);
    launch(device::attention_query_gradient, blocks, device::kAttentionThreads, device::kAttentionBackwardBytes, gpu.stream, gradient);
  });
}

}  // namespace

void add_self_attention(KernelRegistry& registry, const Device& gpu) {
  add_kernel(registry, gpu, ops::self_attention, prepare_self_attention);
  add_kernel(registry, gpu, ops::self_attention_backward, prepare_self_attention_backward);
}

}  // namespace kw::cuda
